/** Fields that several schemas share. */
import { z } from 'zod';

export const time = z.iso.datetime();

/** Any JSON object, returned unchanged. (z.record would drop a key named __proto__.) */
export const metadataValues = z
  .custom<Record<string, unknown>>(
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
    'must be an object',
  )
  .meta({ type: 'object', additionalProperties: true });
/** Metadata as the API shows it. The OpenAPI document cannot see into a custom schema, so null is stated again. */
export const shownMetadata = metadataValues
  .nullable()
  .meta({ type: ['object', 'null'], additionalProperties: true });

export const servedBy = z.int().optional().meta({
  description: 'Live workers that serve the model; left out when it has ended. With 0 it waits.',
});
