#include "kvm/exits.h"

namespace tsvmm {

namespace {

// A string instruction (REP OUTS) brings several items at once.
void handle_port_io(kvm_run& run, const ExitContext& context) {
  auto* data = reinterpret_cast<uint8_t*>(&run) + run.io.data_offset;
  for (uint32_t item = 0; item < run.io.count; ++item, data += run.io.size) {
    if (run.io.direction == KVM_EXIT_IO_OUT) {
      access_write(context.pio, run.io.port, {data, run.io.size}, context.port, context.port.counters(), &context.mmio);
    } else {
      access_read(context.pio, run.io.port, {data, run.io.size}, context.port, context.port.counters(), &context.mmio);
    }
  }
}

}  // namespace

std::optional<VcpuStop> handle_architecture_exit(kvm_run& run, const ExitContext& context) {
  switch (run.exit_reason) {
    case KVM_EXIT_IO:
      handle_port_io(run, context);
      return {};
    case KVM_EXIT_IOAPIC_EOI:
      context.port.end_of_interrupt(run.eoi.vector);
      return {};
    default:
      return VcpuStop{VcpuStop::Kind::kUnhandled, {run.exit_reason}};
  }
}

}  // namespace tsvmm
