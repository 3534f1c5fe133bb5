/** Model folders that scenarios measure. */

/** The model of all figures in docs/benchmarks.md, unless a scenario names another. */
export const SHIPPED = 'models/sst2-minilm';
/** Folder of the DistilBERT-sized model with random weights, which is kept between runs. */
export const GENERATED = '.amulet/bench';
