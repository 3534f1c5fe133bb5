/** Fields that several schemas share. */
import { z } from 'zod';

export const time = z.iso.datetime();

/** Any JSON object, handed back as it came. (z.record would drop a key named __proto__.) */
export const metadataValues = z
  .custom<Record<string, unknown>>(
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
    'must be an object',
  )
  .meta({ type: 'object', additionalProperties: true });
/** As it is shown. The document knows nothing of what is custom: null has to be said again. */
export const shownMetadata = metadataValues
  .nullable()
  .meta({ type: ['object', 'null'], additionalProperties: true });

export const servedBy = z.int().optional().meta({
  description: 'Live workers that serve the model; not there any more when it has ended. With 0 it waits.',
});
