import * as z from 'zod/mini'
import { openApi } from '../../../src/api/openapi.ts'
import { apiRoot, routes } from '../../../src/api/routes.ts'

/** What the page shows of a JSON schema. */
interface Schema {
  type?: string | string[] | undefined
  enum?: unknown[] | undefined
  default?: unknown
  properties?: Record<string, Schema> | undefined
  required?: string[] | undefined
  items?: Schema | undefined
}

const schemaShape: z.ZodMiniType<Schema> = z.object({
  type: z.optional(z.union([z.string(), z.array(z.string())])),
  enum: z.optional(z.array(z.unknown())),
  default: z.optional(z.unknown()),
  properties: z.optional(
    z.record(
      z.string(),
      z.lazy(() => schemaShape),
    ),
  ),
  required: z.optional(z.array(z.string())),
  items: z.optional(z.lazy(() => schemaShape)),
})
const content = z.optional(z.object({ 'application/json': z.object({ schema: schemaShape }) }))
const operationShape = z.object({
  summary: z.string(),
  description: z.optional(z.string()),
  requestBody: z.optional(z.object({ content })),
  responses: z.record(z.string(), z.object({ content })),
})
const documentShape = z.object({ paths: z.record(z.string(), z.record(z.string(), operationShape)) })

/** The description of the API that its server gives of itself. */
export const apiDocument: object = openApi(routes, apiRoot)

/** The same as a page: each endpoint with the fields of its request and of its answer. */
export function apiPage(): string {
  const { paths } = z.parse(documentShape, JSON.parse(JSON.stringify(apiDocument)))
  const operations = Object.entries(paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).flatMap(([verb, { summary, description, requestBody, responses }]) => [
      `## ${verb.toUpperCase()} ${path}`,
      [summary, description].filter(text => text !== undefined).join('. '),
      ...fieldTable('Request', requestBody?.content?.['application/json'].schema),
      ...fieldTable('Answer', responses['200']?.content?.['application/json'].schema),
    ]),
  )
  return [
    '# API, field by field',
    'Made from the OpenAPI document that `GET /api/v1/tsvmm.openapi` answers with; [the API](api.md) says what it all means.',
    ...operations,
  ].join('\n\n')
}

function fieldTable(title: string, schema: Schema | undefined): string[] {
  const rows = schema === undefined ? [] : fieldsOf(schema, '')
  if (rows.length === 0) return []
  return [[`| ${title} | type | default |`, '|---|---|---|', ...rows].join('\n')]
}

function fieldsOf({ properties = {}, required = [], items }: Schema, prefix: string): string[] {
  if (items !== undefined) return fieldsOf(items, `${prefix}[]`)
  return Object.entries(properties).flatMap(([name, field]) => {
    const path = prefix === '' ? name : `${prefix}.${name}`
    const isNeeded = required.includes(name) && field.default === undefined
    return [
      `| \`${path}\` | ${typeOf(field)} | ${isNeeded ? 'required' : defaultOf(field)} |`,
      ...fieldsOf(field, path),
    ]
  })
}

function typeOf({ type, enum: values, items }: Schema): string {
  if (values !== undefined) return values.map(value => `\`${value}\``).join(', ')
  if (items !== undefined) return `array of ${typeOf(items)}`
  return type === undefined ? 'any' : [type].flat().join(' or ')
}

/** Of objects that is what their fields say. */
function defaultOf({ default: value }: Schema): string {
  return value === undefined || typeof value === 'object' ? '' : `\`${JSON.stringify(value)}\``
}
