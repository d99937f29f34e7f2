import assert from 'node:assert/strict'
import type { GuestConsole } from '../harness/guest-console.ts'
import type { PhoneHome } from '../harness/phone-home.ts'
import { overSsh } from '../harness/ssh.ts'

/** Real images take minutes in the lab, the more the more its host does. */
export const bootMs = 1_800_000
/** As the seeds of fixtures/cloud-init have them. */
export const seeded = {
  ...{ user: 'cloud', password: 'cloud123', mac: '12:34:56:78:90:ab' },
  ...{ subnet: 249, hostAddress: '192.168.249.1', address: '192.168.249.2' },
} as const

/** All that the seed says, as lines of shell print it. */
const facts = [
  ...['hostname', 'cat /etc/seeded', 'id -un', 'sudo -n id -u </dev/null', 'ip -4 -o addr'],
  `ping -c 1 -W 20 ${seeded.hostAddress}`,
].join('; ')

/** A guest of a cloud image, over its serial port and over the network. */
export class CloudGuest {
  readonly console: GuestConsole
  readonly #hostname: string

  constructor(console: GuestConsole, distro: string) {
    this.console = console
    this.#hostname = `cloud-${distro}`
  }

  /** The first boot, to the end of what the seed asks for, and a login. */
  async isSeeded(home: PhoneHome): Promise<void> {
    await this.boots()
    assert.equal((await home.call()).get('hostname'), this.#hostname)
    await this.logIn()
    await this.isItself()
  }

  /** Any boot, to cloud-init's last line. */
  async boots(): Promise<void> {
    await this.console.waitFor(/CLOUD-INIT-FINISHED after \d/, bootMs)
  }

  async logIn(): Promise<void> {
    this.console.type('\n')
    await this.console.logIn(bootMs, seeded.user, seeded.password)
  }

  /** Finds everything as the seed says, at the serial port where somebody is logged in and through SSH. */
  async isItself(): Promise<void> {
    // Apart from the terminal, whose input sudo would take for the program's.
    this.#areRight(await this.console.check(`setsid -w sh -c '${facts}'`))
    this.#areRight(await this.ssh(facts))
  }

  ssh(line: string): Promise<string> {
    return overSsh(seeded, line)
  }

  #areRight(text: string): void {
    const [hostname, file, user, root, ...rest] = text.split('\n')
    assert.deepEqual([hostname, file, user, root], [this.#hostname, 'by cloud-init', seeded.user, '0'], text)
    assert.match(rest.join('\n'), new RegExp(`${seeded.address.replaceAll('.', '\\.')}/24[^]* 0% packet loss`))
  }
}
