export async function addPciDevices(_options: unknown): Promise<void> {}
