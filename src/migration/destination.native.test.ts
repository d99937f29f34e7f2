import test from 'ava'
import { MigrationDestination } from './destination.ts'
import { ownSpeaker } from './negotiation.ts'

test('a wait that is given up while its address is looked up is over, and the program is not', async t => {
  // Node would end for one, though somebody waits for it later.
  const unhandled: unknown[] = []
  const note = (reason: unknown) => unhandled.push(reason)
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  const destination = new MigrationDestination({ kind: 'tcp', host: 'localhost', port: 0 }, ownSpeaker([]), () => {
    throw new Error('nobody comes')
  })
  const waited = destination.run()
  const enough = new Error('enough')
  destination.cancel(enough)
  t.is(await t.throwsAsync(waited), enough)
  t.false(unhandled.includes(enough))
})
