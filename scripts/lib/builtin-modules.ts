import { isBuiltin } from 'node:module'
import type { Plugin } from 'esbuild'

/**
 * Bundles Node's own modules as mere look-ups of the names that are used. An `import` of one makes Node read all of its
 * properties, and with them load what is behind the lazy ones: 5 ms for `node:util` alone. What commander needs for commands
 * that are programs of their own, which tsvmm has none of, is left out.
 */
export const builtinModules: Plugin = {
  name: 'builtin-modules',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(node:)?[a-z_/\d]+$/ }, ({ path, kind }) => {
      if (!isBuiltin(path)) return undefined
      const name = path.startsWith('node:') ? path : `node:${path}`
      return { path: name, namespace: kind === 'require-call' ? 'required-builtin' : 'builtin', sideEffects: false }
    })
    onLoad({ filter: /./, namespace: 'required-builtin' }, ({ path }) => ({
      contents: `module.exports = ${lookUp(path)}`,
    }))
    onLoad({ filter: /./, namespace: 'builtin' }, async ({ path }) => {
      const names = Object.keys(await import(path)).filter(name => name !== 'default' && name !== 'module.exports')
      return {
        contents: [
          `const builtin$ = /* @__PURE__ */ (() => ${lookUp(path)})()`,
          'const read$ = name => builtin$[name]',
          ...names.map(name => `export const ${name} = /* @__PURE__ */ read$('${name}')`),
          'export default builtin$',
        ].join('\n'),
      }
    })
  },
}

function lookUp(path: string): string {
  return path === 'node:child_process' ? '{}' : `process.getBuiltinModule('${path}')`
}
