import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import test from 'ava'
import { outputLimitBytes } from './output-limit.ts'
import { StreamWriter } from './stream-writer.ts'

test('what the reader takes arrives in order', async t => {
  const stream = new PassThrough({ highWaterMark: 4 })
  const writer = new StreamWriter(stream)
  for (const part of ['one ', 'two ', 'three']) writer.write(Buffer.from(part))
  let read = ''
  stream.on('data', bytes => {
    read += bytes
    if (read.length === 13) stream.end()
  })
  await once(stream, 'end')
  t.is(read, 'one two three')
})

test('a reader that does not read costs a megabyte at most, and finds the newest', async t => {
  const stream = new PassThrough({ highWaterMark: 16 })
  const writer = new StreamWriter(stream)
  const block = Buffer.alloc(65536, 'x')
  for (let round = 0; round < 64; round += 1) writer.write(block)
  writer.write(Buffer.from('newest'))
  t.true(stream.writableLength + stream.readableLength <= 2 * block.length)
  let read = Buffer.alloc(0)
  stream.on('data', bytes => {
    read = Buffer.concat([read, bytes])
    if (read.toString('latin1', read.length - 6) === 'newest') stream.end()
  })
  await once(stream, 'end')
  t.true(read.length <= outputLimitBytes + 2 * block.length)
})

test('an error of the stream ends the output quietly', async t => {
  const stream = new PassThrough()
  const writer = new StreamWriter(stream)
  stream.destroy(new Error('EPIPE'))
  await new Promise(resolve => stream.once('close', resolve))
  t.notThrows(() => writer.write(Buffer.from('lost')))
  writer.close()
  t.notThrows(() => writer.write(Buffer.from('lost')))
})
