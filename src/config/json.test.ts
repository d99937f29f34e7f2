import test from 'ava'
import { parseVmConfigJson } from './json.ts'

test('a configuration is read from JSON', t => {
  const { memory } = parseVmConfigJson('{"payload": {"kernel": "k"}, "memory": {"size": 1073741824}}')
  t.is(memory.size, 1073741824)
})

test('an integer that JSON.parse would round is refused', t => {
  const json = (size: string) => `{"payload": {"kernel": "k"}, "memory": {"size": ${size}}}`
  t.throws(() => parseVmConfigJson(json('9007199254740993')), {
    code: 'ERR_CONFIG_INVALID',
    message: 'size: 9007199254740993 is beyond 2^53',
  })
  t.throws(() => parseVmConfigJson(json('18446744073709551615')), { message: /is beyond 2\^53/ })
  t.throws(() => parseVmConfigJson(json('9007199254740991')), { message: /--memory: size/ })
})

test('what is not JSON is a configuration error', t => {
  t.throws(() => parseVmConfigJson('{'), { code: 'ERR_CONFIG_INVALID', message: /^configuration: / })
})
