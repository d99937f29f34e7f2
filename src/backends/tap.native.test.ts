import test from 'ava'
import { openTap, type TapSettings } from './tap.native.ts'

const settings: TapSettings = {
  name: undefined,
  fds: undefined,
  queuePairs: 1,
  ip: undefined,
  mask: undefined,
  hostMac: undefined,
  mtu: undefined,
}

// Making an interface needs CAP_NET_ADMIN, and it is the host's network: the native tests do it in a namespace of their own.
test('a tap that cannot be had is refused by name', t => {
  t.throws(() => openTap({ ...settings, name: 'a-name-that-is-too-long' }), {
    code: 'ERR_NET',
    message: /^--net tap=a-name-that-is-too-long: /,
  })
  t.throws(() => openTap({ ...settings, name: 'lo' }), { code: 'ERR_NET', message: /^--net tap=lo: / })
})

test('descriptors that are no tap queues are refused', t => {
  t.throws(() => openTap({ ...settings, fds: [0] }), { code: 'ERR_NET' })
  t.throws(() => openTap({ ...settings, fds: [0, 1] }), { code: 'ERR_NET', message: /one descriptor a queue pair/ })
})
