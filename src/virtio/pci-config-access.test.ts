import test from 'ava'
import { virtioBar } from './pci-layout.ts'
import { aBoard } from './testing/board.ts'
import { FakeDevice } from './testing/fake-device.ts'

async function aRunningTransport() {
  const board = aBoard(new FakeDevice())
  await board.driver.begin(board.queues)
  return board
}

function aTransport() {
  const board = aBoard(new FakeDevice())
  board.driver.pci.enable(true)
  return board
}

test('the window through configuration space reads and writes the BAR (§4.1.4.9)', async t => {
  const { driver, device } = await aRunningTransport()
  const common = virtioBar.common
  t.is(driver.readThroughConfig(common + 18, 2), 2, 'the number of queues')
  t.is(driver.readThroughConfig(common + 20, 1), driver.status)
  t.is(driver.readThroughConfig(virtioBar.device, 4), 0x0403_0201)
  driver.writeThroughConfig(common + 22, 2, 1)
  t.is(driver.read('queueSelect'), 1)
  driver.writeThroughConfig(virtioBar.device + 4, 1, 0x55)
  t.is(device.calls.at(-1), 'write 4/1=85')
  driver.writeThroughConfig(virtioBar.notify + 4, 2, 1)
  t.true(device.backend.rings[1]?.doorbell.isPending())
})

test('the window takes part in traps: the ISR is cleared, a status of 0 resets', async t => {
  const { driver, device } = await aRunningTransport()
  device.events.configChanged()
  t.is(driver.readThroughConfig(virtioBar.isr, 1), 2)
  t.is(driver.readThroughConfig(virtioBar.isr, 1), 0)
  driver.writeThroughConfig(20, 1, 0)
  await new Promise(resolve => setImmediate(resolve))
  t.is(driver.status, 0)
  t.false(device.backend.isRunning)
})

test('the window cuts an access as the bus does', t => {
  const { driver } = aTransport()
  driver.write('queueSelect', 0)
  t.is(driver.readThroughConfig(24, 4), 0xffff_0100, 'queue size and vector')
  driver.writeThroughConfig(24, 4, 0x0001_0040)
  t.is(driver.read('queueVector'), 1)
  driver.write('queueSelect', 0)
  t.is(driver.read('queueSize'), 0x40)
  t.is(driver.readThroughConfig(56, 4), 0xffff_ffff, 'behind the common configuration')
  t.is(driver.readThroughConfig(virtioBar.isr, 4), 0xffff_ff00)
})

test('the window is shut where bar, length or alignment is wrong', t => {
  const { driver } = aTransport()
  const wrong = [
    [18, 2, 1],
    [18, 0, 0],
    [18, 3, 0],
    [16, 8, 0],
    [19, 2, 0],
    [18, 4, 0],
    [0x8_0000, 4, 0],
    [0xffff_fffc, 4, 0],
    [0x7_fffe, 4, 0],
  ] as const
  for (const [offset, length, bar] of wrong) {
    t.is(driver.readThroughConfig(offset, length, bar), 0, `${offset}/${length}`)
    driver.writeThroughConfig(offset, length, 0xffff_ffff, bar)
  }
  t.is(driver.status, 0)
})
