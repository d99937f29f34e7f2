// One virtual machine of KVM. All methods belong to one thread (JavaScript's); the kernel does the locking otherwise.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "kvm/kvm_api.h"
#include "memory/guest_memory.h"
#include "memory/mapping.h"
#include "sys/result.h"
#include "sys/unique_fd.h"

namespace tsvmm {

struct MemorySlot {
  uint32_t slot = 0;
  uint64_t guest_address = 0;
  uint64_t mapping_offset = 0;
  uint64_t size = 0;
  bool read_only = false;
};

struct MsiRoute {
  uint32_t gsi;
  uint32_t address_low;
  uint32_t address_high;
  uint32_t data;
};

struct Doorbell {
  int event_fd;
  bool port_io;
  uint64_t address;
  uint32_t width;
  bool has_match;
  uint64_t match;
};

class Vm {
 public:
  explicit Vm(UniqueFd fd) : fd_(std::move(fd)) {}
  Vm(Vm&&) = default;
  Vm& operator=(Vm&&) = delete;
  ~Vm();

  int fd() const { return fd_.get(); }

  int check_extension(uint64_t capability) const;
  Result<> enable_capability(uint32_t capability, std::span<const uint64_t> arguments) const;
  Result<> set_tss_address(uint64_t address) const;
  Result<> set_identity_map_address(uint64_t address) const;
  // Keeps the mapping alive until the slot goes. EINVAL where the slot leaves the mapping.
  Result<> set_memory_slot(const MemorySlot& slot, std::shared_ptr<Mapping> mapping);
  Result<> remove_memory_slot(uint32_t slot);
  Result<> set_gsi_routes(std::span<const MsiRoute> routes) const;
  Result<> signal_msi(uint32_t address_low, uint32_t address_high, uint32_t data) const;
  Result<> set_irqfd(uint32_t gsi, int event_fd, bool attached) const;
  Result<> set_doorbell(const Doorbell& doorbell, bool attached) const;
  Result<kvm_clock_data> clock() const;
  Result<> set_clock(const kvm_clock_data& clock) const;
  Result<UniqueFd> create_vcpu(uint32_t id) const;

  // Dirty pages: kvm/dirty_tracking.cc. What vCPUs and KVM itself write through slots, and what this process marks in
  // `memory`, as one. On failure nothing is tracked. EALREADY, also where another VM tracks the same memory; ENOTSUP.
  Result<> start_dirty_tracking(std::shared_ptr<GuestMemory> memory);
  // Which pages were written since the start or the last call; a page that is written meanwhile is in this or the next
  // one. More than was written is in it only where RAM was added or a slot changed: all of that. Slots elsewhere than
  // in the memory's ranges are left out. On failure nothing is lost: all is in the next one. EINVAL while not tracking.
  Result<DirtyPages> take_dirty();
  // Idempotent. Nothing is tracked afterwards, whatever it returns.
  Result<> stop_dirty_tracking();
  bool is_tracking_dirty() const { return tracked_ != nullptr; }

 private:
  struct Slot {
    MemorySlot slot;
    std::shared_ptr<Mapping> mapping;
    bool logs = false;  // KVM_MEM_LOG_DIRTY_PAGES
  };

  Result<> apply(const Slot& slot) const;
  Result<> set_logging(Slot& slot, bool logs) const;
  // Reports them in `pages` and clears the log of it; where that fails they are in `pages` nevertheless.
  Result<> drain_log(const Slot& slot, DirtyPages& pages) const;
  void mark_slot(const Slot& slot) const;

  std::map<uint32_t, Slot> slots_;
  std::shared_ptr<GuestMemory> tracked_;
  // After the slots, so that KVM lets go of the memory first.
  UniqueFd fd_;
};

}  // namespace tsvmm
