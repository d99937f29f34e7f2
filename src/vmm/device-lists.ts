import type { DeviceList } from '../config/device-ids.ts'
import type { VmConfig } from '../config/vm-config.ts'
import { TsvmmError } from '../util/errors.ts'

/** Configurations as they are given, to be checked as any other. */

/** With one more device. */
export function withDevice(given: object, list: DeviceList, device: unknown): object {
  const devices: unknown = Reflect.get(given, list)
  return { ...given, [list]: [...(Array.isArray(devices) ? devices : []), device] }
}

/** Without the device that is named so in `config`, which is what `given` means. Throws ERR_DEVICE_UNKNOWN. */
export function withoutDevice(given: object, config: VmConfig, id: string): object {
  for (const list of ['disks', 'net'] as const) {
    const place = config[list].findIndex(device => device.id === id)
    const devices: unknown = Reflect.get(given, list)
    if (place >= 0 && Array.isArray(devices)) return { ...given, [list]: devices.toSpliced(place, 1) }
  }
  throw new TsvmmError('ERR_DEVICE_UNKNOWN', { id })
}
