import test from 'ava'
import { receiveOf } from './receive.ts'

test('keys of a migration to here are those of the request', t => {
  const keys = 'tcp:0.0.0.0:4711,tls_dir=/tls,memory_mode=postcopy,peer_timeout_ms=500,tsc_rate=host'
  t.like(receiveOf(keys, { disk: ['id=_disk0,path=/b.img'] }), {
    url: 'tcp:0.0.0.0:4711',
    options: {
      ...{ tlsDir: '/tls', peerTimeoutMs: 500, tscRate: 'host' },
      overrides: { disks: { _disk0: { path: '/b.img' } } },
    },
  })
  t.throws(() => receiveOf('tcp:0.0.0.0:4711,local=on', {}), { code: 'ERR_OPTION_INVALID', message: /local/ })
})
