import { registerHooks } from 'node:module'

/** `node --import` of it: programs that import the library get its sources. */
const library = new URL('../../src/index.ts', import.meta.url).href

registerHooks({
  resolve: (specifier, context, nextResolve) => nextResolve(specifier === 'tsvmm' ? library : specifier, context),
})
