import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc'] as const

/** For openssl ca(1): it alone can make certificates that have expired. */
function configuration(place: string): string {
  return `[ca]
default_ca = it
[it]
certificate = ${place}/ca-cert.pem
private_key = ${place}/ca-key.pem
database = ${place}/database
new_certs_dir = ${place}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
`
}

export interface CertificateOptions {
  /** subjectAltName. */
  readonly names?: string
  readonly hasExpired?: boolean
}

/** Signs certificates of hosts, for tests. */
export class CertificateAuthority {
  readonly #place: string

  /** In a folder that it makes. */
  constructor(place: string) {
    this.#place = place
    mkdirSync(place)
    writeFileSync(join(place, 'database'), '')
    writeFileSync(join(place, 'config'), configuration(place))
    this.#openssl('req', '-x509', ...newKey, '-subj', '/CN=authority', '-keyout', 'ca-key.pem', '-out', 'ca-cert.pem')
  }

  get certificate(): string {
    return join(this.#place, 'ca-cert.pem')
  }

  /** A certificate and its key into these files. */
  issue(
    cert: string,
    key: string,
    { names = 'IP:127.0.0.1,DNS:localhost', hasExpired = false }: CertificateOptions = {},
  ): void {
    const subject = ['-subj', '/CN=host', '-addext', `subjectAltName=${names}`] as const
    this.#openssl('req', '-new', ...newKey, ...subject, '-keyout', key, '-out', 'request.pem')
    const [from, to] = hasExpired ? ['20200101000000Z', '20200102000000Z'] : ['20200101000000Z', '20990101000000Z']
    const signed = ['-in', 'request.pem', '-out', cert, '-startdate', from, '-enddate', to] as const
    this.#openssl('ca', '-config', 'config', '-batch', '-notext', ...signed)
  }

  #openssl(...command: readonly string[]): void {
    execFileSync('openssl', command, { cwd: this.#place, stdio: ['ignore', 'ignore', 'pipe'] })
  }
}

/** A directory as both sides take it for tls_dir. */
export function tlsDirectory(path: string, authority: CertificateAuthority, options: CertificateOptions = {}): string {
  mkdirSync(path)
  copyFileSync(authority.certificate, join(path, 'ca-cert.pem'))
  for (const side of ['client', 'server']) {
    authority.issue(join(path, `${side}-cert.pem`), join(path, `${side}-key.pem`), options)
  }
  return path
}
