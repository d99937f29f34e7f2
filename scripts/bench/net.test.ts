import test from 'ava'
import { megabits } from './net.ts'

const output = `net_tx_mbps
[ ID] Interval           Transfer     Bitrate         Retr
[  5]   0.00-4.00   sec   179 MBytes   375 Mbits/sec    0             sender
[  5]   0.00-4.02   sec   178 MBytes   371.5 Mbits/sec                  receiver
net_rx_mbps
[  5]   0.00-4.00   sec   251 MBytes   527 Mbits/sec    0             sender
[  5]   0.00-4.00   sec   250 MBytes   524 Mbits/sec                  receiver
`

test('each direction has what its receiver got', t => {
  t.is(megabits(output, 'net_tx_mbps'), 371.5)
  t.is(megabits(output, 'net_rx_mbps'), 524)
})

test('a direction without a result is an error', t => {
  t.throws(() => megabits('net_tx_mbps\niperf3: error - unable to connect', 'net_tx_mbps'), { message: /no result/ })
  t.throws(() => megabits(output.replace(' receiver', ''), 'net_tx_mbps'), { message: /no result/ })
  t.throws(() => megabits(output, 'net_other'), { message: /no result/ })
})
