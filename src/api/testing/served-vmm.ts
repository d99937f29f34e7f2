import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Log } from '../../util/log.ts'
import { FakeMachines } from '../../vmm/testing/fake-machine.ts'
import { Vmm } from '../../vmm/vmm.ts'
import { openApi } from '../openapi.ts'
import { apiRoot, routes } from '../routes.ts'
import { ApiServer, type ApiServerOptions } from '../server.ts'
import { ApiContract, type ApiDescription } from './contract.ts'

/** As the server gives it to its clients. */
const description: ApiDescription = JSON.parse(JSON.stringify(openApi(routes, apiRoot)))

export const contract = new ApiContract(description)

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
  /** The body as JSON; undefined where there is none. */
  readonly json: unknown
}

/** A folder, a VMM with fake machines in it and its server; all gone when disposed of. Every answer is held against the description. */
export class ServedVmm implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'tsvmm-api-'))
  readonly socketPath = join(this.folder, 'api.sock')
  readonly machines = new FakeMachines()
  readonly vmm = new Vmm({ createVm: this.machines.createVm })
  readonly logged: string[] = []
  server: ApiServer | undefined

  static async start(options: Partial<ApiServerOptions> = {}): Promise<ServedVmm> {
    const served = new ServedVmm()
    served.server = await served.listen(options)
    return served
  }

  /** Another server for the same VMM. */
  listen(options: Partial<ApiServerOptions> = {}): Promise<ApiServer> {
    const log = new Log({ level: 'debug', write: line => this.logged.push(line), now: () => 0 })
    return ApiServer.start({
      ...{ vmm: this.vmm, buildVersion: 'tsvmm v1', apiVersion: '53.0.0', log, address: { path: this.socketPath } },
      ...options,
    })
  }

  put(path: string, body?: unknown): Promise<Answer> {
    return this.ask('PUT', path, body === undefined ? undefined : JSON.stringify(body))
  }

  get(path: string): Promise<Answer> {
    return this.ask('GET', path)
  }

  ask(method: string, path: string, body?: string | Buffer): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    const sent = request({ socketPath: this.socketPath, method, path: `/api/v1${path}`, agent: false }, response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        const { statusCode: status = 0, headers } = response
        try {
          contract.check({ method, path, request: body?.toString(), status, answer: text })
        } catch (error) {
          reject(error)
          return
        }
        const json: unknown = text === '' ? undefined : JSON.parse(text)
        resolve({ status, headers, text, json })
      })
    })
    sent.on('error', reject)
    sent.end(body)
    return promise
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vmm.close()
    await this.server?.close()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
