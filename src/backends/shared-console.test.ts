import test from 'ava'
import fc from 'fast-check'
import { type Chardev, nullChardev } from './chardev.ts'
import { type ConsoleListener, SharedConsole } from './shared-console.ts'

class Recorder implements ConsoleListener {
  text = ''
  wanted: boolean[] = []
  hasEnded = false

  onOutput(bytes: Uint8Array): void {
    this.text += Buffer.from(bytes).toString('latin1')
  }

  onInputWanted(isWanted: boolean): void {
    this.wanted.push(isWanted)
  }

  onEnd(): void {
    this.hasEnded = true
  }
}

const bytes = (text: string) => Buffer.from(text, 'latin1')

test('everybody hears the guest, and the guest hears everybody', async t => {
  const own: { output: string; type: (bytes: Uint8Array) => void } = { output: '', type: () => {} }
  const chardev: Chardev = {
    ...nullChardev,
    write: each => {
      own.output += Buffer.from(each).toString()
    },
    onInput: listener => {
      own.type = listener
    },
  }
  const shared = new SharedConsole(chardev)
  let input = ''
  const first = new Recorder()
  const joined = shared.join(first)
  joined.write(bytes('lost'))
  shared.chardev.onInput(each => {
    input += Buffer.from(each).toString()
  })
  shared.chardev.write(bytes('login: '))
  own.type(bytes('ro'))
  joined.write(bytes('ot'))
  const second = new Recorder()
  const other = shared.join(second)
  shared.chardev.write(bytes('ok'))
  other.leave()
  other.leave()
  other.write(bytes('nobody'))
  shared.chardev.write(bytes('.'))
  t.deepEqual([own.output, input, first.text, second.text], ['login: ok.', 'root', 'login: ok.', 'login: ok'])
  shared.chardev.setInputWanted(false)
  t.deepEqual([first.wanted, second.wanted], [[false, true, false], [true]])
  await shared.chardev.close()
  t.deepEqual([first.hasEnded, second.hasEnded], [true, false])
  const late = new Recorder()
  shared.join(late).write(bytes('x'))
  t.true(late.hasEnded)
})

test('a newcomer gets the newest of what was said, however it came', t => {
  const limit = 16 * 1024
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 1, maxLength: 40, unit: 'binary-ascii' }), { maxLength: 40 }),
      fc.nat(3 * limit),
      (parts, bulk) => {
        const shared = new SharedConsole(nullChardev)
        const said = [...parts, 'x'.repeat(bulk), ...parts]
        for (const part of said) shared.chardev.write(bytes(part))
        const newcomer = new Recorder()
        shared.join(newcomer)
        t.is(newcomer.text, said.join('').slice(-limit))
      },
    ),
  )
})

test('what a chardev cannot do the shared one cannot either', t => {
  const bare = new SharedConsole(nullChardev).chardev
  t.deepEqual([bare.onBreak, bare.onResize, bare.path, bare.size], [undefined, undefined, undefined, undefined])
  const size = { columns: 80, rows: 25 }
  const able: Chardev = {
    ...nullChardev,
    onBreak: listener => listener(),
    onResize: listener => listener(size),
    path: '/p',
    size,
  }
  const { chardev } = new SharedConsole(able)
  t.plan(4)
  chardev.onBreak?.(() => t.pass())
  chardev.onResize?.(each => t.is(each, size))
  t.deepEqual([chardev.path, chardev.size], ['/p', size])
})
