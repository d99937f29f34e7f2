/** What package.json says; the bundler puts it in. */
declare const TSVMM_VERSION: string | undefined

export const packageVersion = typeof TSVMM_VERSION === 'undefined' ? '0.0.0-source' : TSVMM_VERSION
