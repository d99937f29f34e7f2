import { execa } from 'execa'

/** A tap interface with an address on the host's side, as an administrator would prepare it; removed when disposed of. */
export class TapNetwork implements AsyncDisposable {
  readonly tap: string
  readonly hostAddress: string
  readonly guestAddress: string

  private constructor(tap: string, subnet: number) {
    this.tap = tap
    this.hostAddress = `192.168.${subnet}.1`
    this.guestAddress = `192.168.${subnet}.2`
  }

  static async create(tap: string, subnet: number, queuePairs = 1): Promise<TapNetwork> {
    const network = new TapNetwork(tap, subnet)
    const flags = queuePairs > 1 ? ['multi_queue'] : []
    await execa('ip', ['tuntap', 'add', 'dev', tap, 'mode', 'tap', 'vnet_hdr', ...flags])
    await execa('ip', ['addr', 'add', `${network.hostAddress}/24`, 'dev', tap])
    await execa('ip', ['link', 'set', tap, 'up'])
    return network
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await execa('ip', ['link', 'del', this.tap], { reject: false })
  }
}
