import test from 'ava'
import { measuredText } from './measurement.ts'

test('what a script printed is known once its last line is whole', t => {
  const text = '\x1b[2JMEASURING-BEGINS\none\ntwo\nMEASURING-ENDED 0'
  t.is(measuredText('kernel\n'), undefined)
  t.is(measuredText(text), undefined)
  t.deepEqual(measuredText(`${text}\n`), { output: 'one\ntwo\n', status: 0 })
})

test('a failed script tells its status', t => {
  t.like(measuredText('MEASURING-BEGINS\nMEASURING-ENDED 127\n'), { output: '', status: 127 })
})
