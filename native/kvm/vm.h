// One virtual machine of KVM. All methods belong to one thread (JavaScript's); the kernel does the locking otherwise.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "kvm/kvm_api.h"
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
  bool log_dirty_pages = false;
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

  int fd() const { return fd_.get(); }

  int check_extension(uint64_t capability) const;
  Result<> enable_capability(uint32_t capability, std::span<const uint64_t> arguments) const;
  Result<> set_tss_address(uint64_t address) const;
  Result<> set_identity_map_address(uint64_t address) const;
  // Keeps the mapping alive until the slot goes. EINVAL where the slot leaves the mapping.
  Result<> set_memory_slot(const MemorySlot& slot, std::shared_ptr<Mapping> mapping);
  Result<> remove_memory_slot(uint32_t slot);
  // One bit a page of the slot, in whole 64-bit words. ENOENT for a slot that is not there.
  Result<std::vector<uint8_t>> dirty_log(uint32_t slot) const;
  Result<> clear_dirty_log(uint32_t slot, uint64_t first_page, uint32_t pages, std::span<const uint8_t> bitmap) const;
  Result<> set_gsi_routes(std::span<const MsiRoute> routes) const;
  Result<> signal_msi(uint32_t address_low, uint32_t address_high, uint32_t data) const;
  Result<> set_irqfd(uint32_t gsi, int event_fd, bool attached) const;
  Result<> set_doorbell(const Doorbell& doorbell, bool attached) const;
  Result<kvm_clock_data> clock() const;
  Result<> set_clock(const kvm_clock_data& clock) const;
  Result<UniqueFd> create_vcpu(uint32_t id) const;

 private:
  struct Slot {
    MemorySlot slot;
    std::shared_ptr<Mapping> mapping;
  };

  std::map<uint32_t, Slot> slots_;
  // After the slots, so that KVM lets go of the memory first.
  UniqueFd fd_;
};

}  // namespace tsvmm
