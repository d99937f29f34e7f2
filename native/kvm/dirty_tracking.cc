// The pages that were written through a VM's slots, or by this process.
//
// KVM's log with manual protection: KVM_GET_DIRTY_LOG only copies, KVM_CLEAR_DIRTY_LOG clears the bits that it is given
// and write-protects their pages again, a chunk at a time. A page written between both is in the copy; one written
// after is in the next. KVM_DIRTY_LOG_INITIALLY_SET is not used: it would put the protection of all memory off until
// the first clear, while the first question is to be answered by what was written since the start.
#include <sys/ioctl.h>

#include <algorithm>

#include "kvm/vm.h"

namespace tsvmm {

namespace {

// A clear takes KVM's lock for so many pages; vCPUs that fault wait for it.
constexpr uint64_t kChunkPages = 64 * 1024;
constexpr uint64_t kBits = 64;

}  // namespace

Vm::~Vm() {
  if (tracked_) tracked_->dirty().stop();
}

Result<> Vm::set_logging(Slot& slot, bool logs) const {
  if (slot.logs == logs || slot.slot.read_only) return Unit{};
  slot.logs = logs;
  auto applied = apply(slot);
  if (!applied) slot.logs = !logs;
  return applied;
}

Result<> Vm::start_dirty_tracking(std::shared_ptr<GuestMemory> memory) {
  if (is_tracking_dirty()) return Failure{EALREADY, "start tracking dirty pages"};
  if ((check_extension(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) == 0) {
    return Failure{ENOTSUP, "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2"};
  }
  constexpr uint64_t kManualProtect[] = {KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE};
  if (auto enabled = enable_capability(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, kManualProtect); !enabled) return enabled;
  if (auto started = memory->dirty().start(); !started) return started;
  tracked_ = std::move(memory);
  for (auto& [number, slot] : slots_) {
    // One that a failed stop left logging holds what was written since.
    DirtyPages stale({});
    auto begun = slot.logs ? drain_log(slot, stale) : set_logging(slot, true);
    if (begun) continue;
    static_cast<void>(stop_dirty_tracking());
    return begun;
  }
  return Unit{};
}

Result<DirtyPages> Vm::take_dirty() {
  if (!is_tracking_dirty()) return Failure{EINVAL, "take dirty pages"};
  auto taken = tracked_->dirty().take();
  if (!taken) return taken;
  for (const auto& [number, slot] : slots_) {
    if (!slot.logs) continue;
    if (const auto drained = drain_log(slot, taken.value()); !drained) {
      tracked_->dirty().put_back(taken.value());
      return drained.failure();
    }
  }
  return taken;
}

Result<> Vm::stop_dirty_tracking() {
  if (!is_tracking_dirty()) return Unit{};
  tracked_->dirty().stop();
  tracked_.reset();
  Result<> first = Unit{};
  for (auto& [number, slot] : slots_) {
    if (auto stopped = set_logging(slot, false); !stopped && first) first = stopped;
  }
  return first;
}

Result<> Vm::drain_log(const Slot& slot, DirtyPages& pages) const {
  const auto count = slot.slot.size / kPageBytes;
  std::vector<uint64_t> bits((count + kBits - 1) / kBits);
  kvm_dirty_log log{};
  log.slot = slot.slot.slot;
  log.dirty_bitmap = bits.data();
  if (ioctl(fd_.get(), KVM_GET_DIRTY_LOG, &log) < 0) return last_failure("KVM_GET_DIRTY_LOG");
  pages.merge(slot.slot.guest_address, bits, count);
  for (uint64_t first = 0; first < count; first += kChunkPages) {
    const auto chunk = std::min(kChunkPages, count - first);
    const auto words = std::span(bits).subspan(first / kBits, (chunk + kBits - 1) / kBits);
    if (std::ranges::all_of(words, [](uint64_t word) { return word == 0; })) continue;
    kvm_clear_dirty_log clear{};
    clear.slot = slot.slot.slot;
    clear.first_page = first;
    clear.num_pages = static_cast<uint32_t>(chunk);
    clear.dirty_bitmap = words.data();
    if (ioctl(fd_.get(), KVM_CLEAR_DIRTY_LOG, &clear) < 0) return last_failure("KVM_CLEAR_DIRTY_LOG");
  }
  return Unit{};
}

void Vm::mark_slot(const Slot& slot) const {
  if (slot.logs && is_tracking_dirty()) tracked_->dirty().mark(slot.slot.guest_address, slot.slot.size);
}

}  // namespace tsvmm
