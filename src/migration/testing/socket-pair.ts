import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Both ends of a connection. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const place = mkdtempSync(join(tmpdir(), 'tsvmm-pair-'))
  const server = createServer()
  server.listen(join(place, 'socket'))
  await once(server, 'listening')
  const one = connect(join(place, 'socket'))
  const [other]: Socket[] = await once(server, 'connection')
  server.close()
  rmSync(place, { recursive: true })
  if (other === undefined) throw new Error('nobody came')
  return [one, other]
}
