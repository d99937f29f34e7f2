import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { TerminalChardev } from './terminal-chardev.ts'

function aTerminal(options: { hasPerson?: boolean; input?: PassThrough } = {}) {
  const [input, output] = [options.input ?? new PassThrough(), new PassThrough()]
  const events: string[] = []
  const chardev = new TerminalChardev({ ...options, input, output, onEnd: () => events.push('<end>') })
  chardev.onBreak(() => events.push('<break>'))
  const listen = () => chardev.onInput(bytes => events.push(Buffer.from(bytes).toString('latin1')))
  return { chardev, input, output, events, listen }
}

test('what is no terminal is read as it is, and its end ends nothing', async t => {
  const { chardev, input, output, events, listen } = aTerminal()
  listen()
  input.end('ls\x01x\n')
  await sleep(1)
  t.is(events.join(''), 'ls\x01x\n')
  chardev.write(Buffer.from('goes on'))
  t.is(output.read().toString(), 'goes on')
  t.is(chardev.size, undefined)
  await chardev.close()
})

test('input waits until somebody listens, and while it is not wanted', async t => {
  const { chardev, input, events, listen } = aTerminal()
  input.write('early ')
  await sleep(1)
  t.deepEqual(events, [])
  listen()
  await sleep(1)
  t.is(events.join(''), 'early ')
  chardev.setInputWanted(false)
  input.write('later')
  await sleep(1)
  t.is(events.join(''), 'early ')
  chardev.setInputWanted(true)
  await sleep(1)
  t.is(events.join(''), 'early later')
  await chardev.close()
})

test('a person behind a relay has the escape sequences', async t => {
  const { chardev, input, events, listen } = aTerminal({ hasPerson: true })
  listen()
  input.write('a\x01')
  input.write('bc\x01x')
  await sleep(1)
  t.is(events.join(''), 'a<break>c<end>')
  await chardev.close()
})

test('a closed console takes and gives nothing', async t => {
  const { chardev, input, output, events, listen } = aTerminal()
  listen()
  await chardev.close()
  await chardev.close()
  chardev.write(Buffer.from('late'))
  chardev.setInputWanted(true)
  input.write('late')
  await sleep(1)
  t.is(output.read(), null)
  t.deepEqual(events, [])
})

test('the next machine on this terminal hears what is typed, also meanwhile', async t => {
  const first = aTerminal()
  first.listen()
  await first.chardev.close()
  first.input.write('meanwhile ')
  const second = aTerminal({ input: first.input })
  second.listen()
  second.input.write('and then')
  await sleep(1)
  t.is(second.events.join(''), 'meanwhile and then')
  t.deepEqual(first.events, [])
  await second.chardev.close()
})

test('an error of input or output is nobody’s end', async t => {
  const { chardev, input, output, listen } = aTerminal()
  listen()
  input.destroy(new Error('EIO'))
  output.destroy(new Error('EPIPE'))
  await sleep(1)
  t.notThrows(() => chardev.write(Buffer.from('lost')))
  await chardev.close()
})
