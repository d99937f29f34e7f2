import * as z from 'zod/mini'
import type { Route } from './routes.ts'
import { errorSchema } from './schemas.ts'

const jsonType = 'application/json'

/** The API as an OpenAPI 3.1 document, made from the table that serves it and the schemas that check it. */
export function openApi(routes: readonly Route[], root: string): object {
  return {
    openapi: '3.1.0',
    info: {
      title: 'tsvmm',
      description:
        'Creates, drives and inspects one virtual machine. Paths, bodies and statuses are Cloud Hypervisor’s.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      version: '1',
    },
    servers: [{ url: `http://localhost${root}` }],
    paths: Object.fromEntries(routes.map(route => [route.path, { [route.method.toLowerCase()]: operation(route) }])),
  }
}

function operation(route: Route): object {
  const { path, summary, request, unsupported } = route
  return {
    ...operationId(path),
    summary,
    ...(unsupported === undefined ? {} : { description: 'Not supported yet: answers 501.' }),
    ...(request === undefined ? {} : { requestBody: { required: true, content: contentOf(request, 'input') } }),
    responses: {
      ...success(route),
      default: {
        description: 'What went wrong, the outermost reason first',
        content: contentOf(errorSchema, 'output'),
      },
    },
  }
}

/** Those that Cloud Hypervisor's description names: what is generated from the one or the other has functions of the same names. */
const namedPaths = [
  ...['/vmm.shutdown', '/vm.create', '/vm.delete', '/vm.boot', '/vm.pause', '/vm.resume', '/vm.shutdown', '/vm.reboot'],
  '/vm.power-button',
]

function operationId(path: string): { operationId?: string } {
  const [owner = '', verb] = path.slice(1).split('.')
  return namedPaths.includes(path) ? { operationId: `${verb}${owner.toUpperCase()}` } : {}
}

function success({ response, mayBeSilent }: Pick<Route, 'response' | 'mayBeSilent'>): object {
  const silence = { 204: { description: 'Done' } }
  if (response === undefined) return silence
  if (response === 'empty') return { 200: { description: 'Done' } }
  const content = response === 'json' ? { [jsonType]: { schema: { type: 'object' } } } : contentOf(response, 'output')
  return { 200: { description: 'Done', content }, ...(mayBeSilent === true ? silence : {}) }
}

function contentOf(schema: z.ZodMiniType, io: 'input' | 'output'): object {
  // The dialect is that of OpenAPI 3.1 already.
  const { $schema, ...shape } = z.toJSONSchema(schema, { io, target: 'draft-2020-12' })
  return { [jsonType]: { schema: shape } }
}
