import { execa } from 'execa'

export interface SshLogin {
  readonly address: string
  readonly user: string
  readonly password: string
}

/** OpenSSH's client as a user would call it, but for keys of hosts and its own: those of clones and reboots are nobody's business. */
const options = [
  ...['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR', 'ConnectTimeout=120'],
  ...['PreferredAuthentications=password', 'NumberOfPasswordPrompts=1'],
].flatMap(option => ['-o', option])

/** Runs a line of shell on another machine and returns what it printed; rejects where it fails, or the login does. */
export async function overSsh({ address, user, password }: SshLogin, line: string): Promise<string> {
  const { stdout } = await execa('sshpass', ['-e', 'ssh', ...options, `${user}@${address}`, line], {
    ...{ env: { SSHPASS: password }, stdin: 'ignore', timeout: 240_000 },
  })
  return stdout.trimEnd()
}
