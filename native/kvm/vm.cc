#include "kvm/vm.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>

namespace tsvmm {

namespace {

template <typename Argument>
Result<> call(int fd, unsigned long request, Argument argument, const char* operation) {
  if (ioctl(fd, request, argument) < 0) return last_failure(operation);
  return Unit{};
}

}  // namespace

int Vm::check_extension(uint64_t capability) const {
  const int value = ioctl(fd_.get(), KVM_CHECK_EXTENSION, capability);
  return value < 0 ? 0 : value;
}

Result<> Vm::enable_capability(uint32_t capability, std::span<const uint64_t> arguments) const {
  kvm_enable_cap request{};
  request.cap = capability;
  if (arguments.size() > std::size(request.args)) return Failure{EINVAL, "KVM_ENABLE_CAP"};
  std::ranges::copy(arguments, request.args);
  return call(fd_.get(), KVM_ENABLE_CAP, &request, "KVM_ENABLE_CAP");
}

Result<> Vm::set_tss_address(uint64_t address) const {
  return call(fd_.get(), KVM_SET_TSS_ADDR, address, "KVM_SET_TSS_ADDR");
}

Result<> Vm::set_identity_map_address(uint64_t address) const {
  return call(fd_.get(), KVM_SET_IDENTITY_MAP_ADDR, &address, "KVM_SET_IDENTITY_MAP_ADDR");
}

Result<> Vm::set_memory_slot(const MemorySlot& slot, std::shared_ptr<Mapping> mapping) {
  if (slot.size == 0 || slot.mapping_offset > mapping->size() || slot.size > mapping->size() - slot.mapping_offset) {
    return Failure{EINVAL, "KVM_SET_USER_MEMORY_REGION"};
  }
  Slot added{slot, std::move(mapping), is_tracking_dirty() && !slot.read_only};
  if (auto applied = apply(added); !applied) return applied;
  if (const auto before = slots_.find(slot.slot); before != slots_.end()) mark_slot(before->second);
  slots_.insert_or_assign(slot.slot, std::move(added));
  return Unit{};
}

Result<> Vm::apply(const Slot& slot) const {
  kvm_userspace_memory_region region{};
  region.slot = slot.slot.slot;
  region.flags = (slot.slot.read_only ? KVM_MEM_READONLY : 0u) | (slot.logs ? KVM_MEM_LOG_DIRTY_PAGES : 0u);
  region.guest_phys_addr = slot.slot.guest_address;
  region.memory_size = slot.slot.size;
  region.userspace_addr = reinterpret_cast<uintptr_t>(slot.mapping->host() + slot.slot.mapping_offset);
  return call(fd_.get(), KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
}

Result<> Vm::remove_memory_slot(uint32_t slot) {
  kvm_userspace_memory_region region{};
  region.slot = slot;
  if (auto set = call(fd_.get(), KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION"); !set) return set;
  if (const auto removed = slots_.find(slot); removed != slots_.end()) {
    mark_slot(removed->second);
    slots_.erase(removed);
  }
  return Unit{};
}

Result<> Vm::set_gsi_routes(std::span<const MsiRoute> routes) const {
  std::vector<uint64_t> storage((sizeof(kvm_irq_routing) + routes.size() * sizeof(kvm_irq_routing_entry) + 7) / 8);
  auto* table = reinterpret_cast<kvm_irq_routing*>(storage.data());
  table->nr = static_cast<uint32_t>(routes.size());
  for (size_t index = 0; index < routes.size(); ++index) {
    auto& entry = table->entries[index];
    entry.gsi = routes[index].gsi;
    entry.type = KVM_IRQ_ROUTING_MSI;
    entry.u.msi.address_lo = routes[index].address_low;
    entry.u.msi.address_hi = routes[index].address_high;
    entry.u.msi.data = routes[index].data;
  }
  return call(fd_.get(), KVM_SET_GSI_ROUTING, table, "KVM_SET_GSI_ROUTING");
}

Result<> Vm::signal_msi(uint32_t address_low, uint32_t address_high, uint32_t data) const {
  kvm_msi message{};
  message.address_lo = address_low;
  message.address_hi = address_high;
  message.data = data;
  return call(fd_.get(), KVM_SIGNAL_MSI, &message, "KVM_SIGNAL_MSI");
}

Result<> Vm::set_irqfd(uint32_t gsi, int event_fd, bool attached) const {
  kvm_irqfd request{};
  request.fd = static_cast<uint32_t>(event_fd);
  request.gsi = gsi;
  request.flags = attached ? 0 : KVM_IRQFD_FLAG_DEASSIGN;
  return call(fd_.get(), KVM_IRQFD, &request, "KVM_IRQFD");
}

Result<> Vm::set_doorbell(const Doorbell& doorbell, bool attached) const {
  kvm_ioeventfd request{};
  request.datamatch = doorbell.match;
  request.addr = doorbell.address;
  request.len = doorbell.width;
  request.fd = doorbell.event_fd;
  request.flags = (doorbell.port_io ? KVM_IOEVENTFD_FLAG_PIO : 0u) |
                  (doorbell.has_match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0u) |
                  (attached ? 0u : KVM_IOEVENTFD_FLAG_DEASSIGN);
  return call(fd_.get(), KVM_IOEVENTFD, &request, "KVM_IOEVENTFD");
}

Result<kvm_clock_data> Vm::clock() const {
  kvm_clock_data clock{};
  if (auto got = call(fd_.get(), KVM_GET_CLOCK, &clock, "KVM_GET_CLOCK"); !got) return got.failure();
  return clock;
}

Result<> Vm::set_clock(const kvm_clock_data& clock) const {
  return call(fd_.get(), KVM_SET_CLOCK, &clock, "KVM_SET_CLOCK");
}

Result<UniqueFd> Vm::create_vcpu(uint32_t id) const {
  UniqueFd fd(ioctl(fd_.get(), KVM_CREATE_VCPU, id));
  if (!fd.is_open()) return last_failure("KVM_CREATE_VCPU");
  return fd;
}

}  // namespace tsvmm
