// What to do with one exit of KVM_RUN.
#pragma once

#include <optional>

#include "bus/trap_channel.h"
#include "kvm/kvm_api.h"

namespace tsvmm {

// What a vCPU thread needs to answer exits; used by that thread only.
struct ExitContext {
  const WindowTable& pio;
  const WindowTable& mmio;
  TrapPort& port;
};

// Answers the exit in `run`; a stop where the vCPU cannot go on. Exits that every architecture has are in vcpu.cc, the
// rest in its folder.
std::optional<VcpuStop> handle_exit(kvm_run& run, const ExitContext& context);
std::optional<VcpuStop> handle_architecture_exit(kvm_run& run, const ExitContext& context);

}  // namespace tsvmm
