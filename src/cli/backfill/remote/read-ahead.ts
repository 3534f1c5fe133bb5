/**
 * Reads small ranges of a remote file before they are asked for, neighbours in one request. A column of Parquet in many small row groups
 * would otherwise cost a round trip for each of them.
 */
type Slice = (start: number, end: number) => Promise<Uint8Array>;

export interface PlannedRange {
  start: number;
  end: number;
}

/** Bytes between two ranges that are read along, since another request would take longer. */
const GAP_BYTES = 128 * 1024;
/** Ranges are joined in one request up to this size; of a larger range, the parts are read that are asked for. */
const REQUEST_BYTES = 2 * 1024 * 1024;
/** A group with more in small ranges is not read ahead: its requests are kept until it has been read. */
const GROUP_BYTES = 8 * 1024 * 1024;
/** Requested or received, and not yet asked for. */
const AHEAD_BYTES = 8 * 1024 * 1024;

interface PlannedRequest extends PlannedRange {
  /** Numbers of the groups that it is for. */
  firstGroup: number;
  lastGroup: number;
}

/**
 * @param groups ranges in the order in which they will be asked for. The ranges of a group are asked for in turns, before those of the
 *   next one
 * @returns a function that reads any range, those of the plan without waiting
 */
export function readAhead(slice: Slice, groups: readonly (readonly PlannedRange[])[]): Slice {
  const requests = requestsOf(groups);
  const running = new Map<PlannedRequest, Promise<Uint8Array>>();
  const begin = (request: PlannedRequest): Promise<Uint8Array> => {
    const begun = running.get(request);
    if (begun) return begun;
    const bytes = slice(request.start, request.end);
    // Reported to whoever asks for it.
    bytes.catch(() => {});
    running.set(request, bytes);
    return bytes;
  };
  /** Requests before this one are for groups that have been read. */
  let first = 0;
  return async (start, end) => {
    const at = requests.findIndex((request, i) => i >= first && request.start <= start && end <= request.end);
    const request = requests[at];
    if (!request) return slice(start, end);
    for (let earlier = requests[first]; earlier && earlier.lastGroup < request.firstGroup;) {
      running.delete(earlier);
      earlier = requests[++first];
    }
    const bytes = begin(request);
    let ahead = 0;
    for (let i = at + 1, next = requests[i]; next; next = requests[++i]) {
      ahead += next.end - next.start;
      if (ahead > AHEAD_BYTES) break;
      void begin(next);
    }
    return (await bytes).subarray(start - request.start, end - request.start);
  };
}

function requestsOf(groups: readonly (readonly PlannedRange[])[]): PlannedRequest[] {
  const requests: PlannedRequest[] = [];
  for (const [group, ranges] of groups.entries()) {
    const small = ranges.filter(({ start, end }) => end > start && end - start <= REQUEST_BYTES);
    if (small.reduce((sum, { start, end }) => sum + end - start, 0) > GROUP_BYTES) continue;
    for (const { start, end } of small.sort((a, b) => a.start - b.start)) {
      const last = requests.at(-1);
      const isNear = last !== undefined && start >= last.start && start - last.end <= GAP_BYTES;
      if (isNear && end - last.start <= REQUEST_BYTES) {
        last.end = Math.max(end, last.end);
        last.lastGroup = group;
      } else requests.push({ start, end, firstGroup: group, lastGroup: group });
    }
  }
  return requests;
}
