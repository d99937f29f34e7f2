#include "kvm/register_files.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <array>

#include "kvm/kvm_api.h"

namespace tsvmm {

namespace {

#define TSVMM_FILE(name, get, set, type) \
  RegisterFile { name, get, set, sizeof(type), #get, #set }

// KVM API §4.11 and following.
constexpr std::array kFiles = {
    TSVMM_FILE("regs", KVM_GET_REGS, KVM_SET_REGS, kvm_regs),
    TSVMM_FILE("sregs", KVM_GET_SREGS, KVM_SET_SREGS, kvm_sregs),
    TSVMM_FILE("fpu", KVM_GET_FPU, KVM_SET_FPU, kvm_fpu),
    TSVMM_FILE("xsave", KVM_GET_XSAVE2, KVM_SET_XSAVE, kvm_xsave),
    TSVMM_FILE("xcrs", KVM_GET_XCRS, KVM_SET_XCRS, kvm_xcrs),
    TSVMM_FILE("lapic", KVM_GET_LAPIC, KVM_SET_LAPIC, kvm_lapic_state),
    TSVMM_FILE("events", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, kvm_vcpu_events),
    TSVMM_FILE("debugregs", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, kvm_debugregs),
    TSVMM_FILE("mp-state", KVM_GET_MP_STATE, KVM_SET_MP_STATE, kvm_mp_state),
    TSVMM_FILE("nested-state", KVM_GET_NESTED_STATE, KVM_SET_NESTED_STATE, kvm_nested_state),
};

#undef TSVMM_FILE

// KVM_GET_NESTED_STATE says E2BIG with the size it needs; two pages hold either vendor's state.
constexpr size_t kNestedStateRoom = sizeof(kvm_nested_state) + 2 * 4096;

size_t room_of(const RegisterFile& file, size_t xsave_size) {
  if (file.get == KVM_GET_XSAVE2) return std::max(xsave_size, file.size);
  if (file.get == KVM_GET_NESTED_STATE) return kNestedStateRoom;
  return file.size;
}

std::vector<uint64_t> aligned_storage(size_t size) { return std::vector<uint64_t>((size + 7) / 8); }

}  // namespace

const RegisterFile* find_register_file(std::string_view name) {
  const auto* found = std::ranges::find(kFiles, name, &RegisterFile::name);
  return found == kFiles.end() ? nullptr : found;
}

Result<std::vector<uint8_t>> get_registers(int vcpu_fd, const RegisterFile& file, size_t xsave_size) {
  auto size = room_of(file, xsave_size);
  auto storage = aligned_storage(size);
  auto request = file.get;
  // Kernels before 5.17 know only the fixed 4 KiB form.
  if (request == KVM_GET_XSAVE2 && xsave_size == 0) request = KVM_GET_XSAVE;
  if (request == KVM_GET_NESTED_STATE) {
    reinterpret_cast<kvm_nested_state*>(storage.data())->size = static_cast<uint32_t>(size);
  }
  if (ioctl(vcpu_fd, request, storage.data()) != 0) return last_failure(file.get_operation);
  if (request == KVM_GET_NESTED_STATE) size = reinterpret_cast<kvm_nested_state*>(storage.data())->size;
  const auto* bytes = reinterpret_cast<const uint8_t*>(storage.data());
  return std::vector<uint8_t>(bytes, bytes + size);
}

Result<> set_registers(int vcpu_fd, const RegisterFile& file, std::span<const uint8_t> bytes, size_t xsave_size) {
  const auto room = room_of(file, xsave_size);
  const bool fits = file.get == KVM_GET_NESTED_STATE ? bytes.size() >= sizeof(kvm_nested_state) && bytes.size() <= room
                                                     : bytes.size() == room;
  if (!fits) return Failure{EINVAL, file.set_operation};
  auto storage = aligned_storage(room);
  std::ranges::copy(bytes, reinterpret_cast<uint8_t*>(storage.data()));
  if (ioctl(vcpu_fd, file.set, storage.data()) != 0) return last_failure(file.set_operation);
  return Unit{};
}

}  // namespace tsvmm
