/**
 * Where a real-mode jump to the BIOS ends (0xF000:0xFFF0). A Linux that finds hardware-reduced ACPI but no EFI restarts
 * that way: all that there has to be is code that resets the machine through port 0x64.
 */
export const resetVectorAddress = 0xffff0

/** mov al, 0xfe; out 0x64, al; hlt; jmp to the hlt. */
export const resetVectorCode = Uint8Array.of(0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd)
