import { request as send } from 'node:http'

/** What fetch does, over a Unix socket. */
export function fetchOver(socketPath: string): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init)
    const body = Buffer.from(await request.arrayBuffer())
    const { promise, resolve, reject } = Promise.withResolvers<Response>()
    const { method } = request
    const headers = { ...Object.fromEntries(request.headers), 'content-length': body.length }
    const sent = send({ socketPath, method, path: new URL(request.url).pathname, headers, agent: false }, answer => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('error', reject)
      answer.on('end', () => {
        const { statusCode: status = 0 } = answer
        const told = new Headers()
        for (const [name, value] of Object.entries(answer.headers)) told.set(name, String(value))
        resolve(new Response(status === 204 ? null : Buffer.concat(chunks), { status, headers: told }))
      })
    })
    sent.on('error', reject)
    sent.end(body)
    return await promise
  }
}
