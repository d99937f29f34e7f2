import test from 'ava'
import { answerTime } from './pinging.ts'

test('answers are told from whatever else ping prints', t => {
  t.deepEqual(
    answerTime('[1795454523.250000] 64 bytes from 192.168.205.2: icmp_seq=1 ttl=64 time=0.045 ms'),
    [1_795_454_523_250],
  )
  t.deepEqual(answerTime('[1795454523.250000] From 192.168.205.1 icmp_seq=9 Destination Host Unreachable'), [])
  t.deepEqual(answerTime('PING 192.168.205.2 (192.168.205.2) 56(84) bytes of data.'), [])
})
