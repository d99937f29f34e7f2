import type { MigrationAddress } from './addresses.ts'
import { migrationError } from './error.ts'
import type { TlsSide, TlsTunnel } from './tls-tunnel.native.ts'

/** For the connections to or at that address, with the files of that side. Throws ERR_MIGRATION. */
export async function openTunnel(address: MigrationAddress, directory: string, side: TlsSide): Promise<TlsTunnel> {
  if (address.kind !== 'tcp') throw migrationError('tls_dir: only connections over tcp can be under TLS')
  // Most migrations have none, and Node's TLS takes its time to load.
  const { readTlsCredentials, TlsTunnel } = await import('./tls-tunnel.native.ts')
  const credentials = await readTlsCredentials(directory, side)
  return new TlsTunnel(credentials, side === 'client' ? { host: address.host } : {})
}
