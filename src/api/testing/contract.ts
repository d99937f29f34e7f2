import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'

interface Content {
  readonly content?: { readonly 'application/json': { readonly schema: object } }
}

interface Operation {
  readonly requestBody?: Content
  readonly responses: Readonly<Record<string, Content>>
}

/** What of an OpenAPI document says which requests and answers there are. */
export interface ApiDescription {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

export interface Exchange {
  readonly method: string
  /** Below the root. */
  readonly path: string
  readonly request?: string | undefined
  readonly status: number
  /** '' where there is none. */
  readonly answer: string
}

/** Holds requests and their answers against the description that the server gives of itself. */
export class ApiContract {
  readonly #description: ApiDescription
  readonly #answers = new Ajv2020({ strictTypes: false })
  /** What nobody knows is left out of a request. */
  readonly #requests = new Ajv2020({ strictTypes: false, removeAdditional: true })

  constructor(description: ApiDescription) {
    this.#description = description
  }

  /** Throws where the description does not have such an answer, or none to such a request. */
  check({ method, path, request, status, answer }: Exchange): void {
    const name = `${method} ${path}: ${status}`
    const operation = this.#description.paths[path]?.[method.toLowerCase()]
    const response = operation?.responses[status] ?? this.#refusal()
    // Cloud Hypervisor's: other verbs than those of the API have no reason.
    const isOtherVerb = method !== 'GET' && method !== 'PUT'
    if (response.content === undefined || (isOtherVerb && answer === '')) {
      if (answer !== '') throw new Error(`${name} has a body: ${answer}`)
    } else {
      validate(this.#answers, response.content['application/json'].schema, JSON.parse(answer), name)
    }
    const isTaken = status === 200 || status === 204
    if (!isTaken) return
    if (operation === undefined) throw new Error(`${name} is not described`)
    if (operation.responses[status] === undefined) throw new Error(`${name} is not among the described answers`)
    if (operation.requestBody?.content === undefined) return
    const { schema } = operation.requestBody.content['application/json']
    validate(this.#requests, schema, JSON.parse(request ?? '', withoutNull), `${name}: request`)
  }

  /** Of any request, those included that are not described. */
  #refusal(): Content {
    const refusal = Object.values(this.#description.paths)
      .flatMap(verbs => Object.values(verbs))
      .map(operation => operation.responses['default'])
      .find(response => response !== undefined)
    if (refusal === undefined) throw new Error('the description has no refusals')
    return refusal
  }
}

/** Clients write null for what they leave out. */
function withoutNull(_key: string, value: unknown): unknown {
  return value === null ? undefined : value
}

function validate(ajv: Ajv2020, schema: object, value: unknown, name: string): void {
  // Compiled once for each schema.
  const check: ValidateFunction = ajv.compile(schema)
  if (!check(value)) throw new Error(`${name}: ${ajv.errorsText(check.errors)}: ${JSON.stringify(value)}`)
}
