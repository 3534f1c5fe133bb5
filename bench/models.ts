/** Model folders that scenarios measure. */

export const SHIPPED = 'models/sst2-minilm';
/** Folder of the DistilBERT-sized model with random weights, which is kept between runs. */
export const GENERATED = '.amulet/bench';
