#include "kvm/kvm.h"

#include <cpuid.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include <cstring>

#include "kvm/kvm_api.h"

namespace tsvmm {

namespace {

// For structures of the kernel that end in an array: storage for `count` entries behind the header.
template <typename Header>
std::vector<uint64_t> storage_for(size_t entry_size, size_t count) {
  return std::vector<uint64_t>((sizeof(Header) + entry_size * count + sizeof(uint64_t) - 1) / sizeof(uint64_t));
}

Result<std::vector<uint32_t>> index_list(int fd, unsigned long request, const char* operation) {
  for (uint32_t room = 256;; room *= 2) {
    auto storage = storage_for<kvm_msr_list>(sizeof(uint32_t), room);
    auto* list = reinterpret_cast<kvm_msr_list*>(storage.data());
    list->nmsrs = room;
    if (ioctl(fd, request, list) == 0) return std::vector<uint32_t>(list->indices, list->indices + list->nmsrs);
    if (errno != E2BIG) return last_failure(operation);
  }
}

// Leaves 0x80000002 to 0x80000004 are the name of the CPU as people know it. KVM leaves them to its user.
void add_brand(std::span<kvm_cpuid_entry2> entries) {
  constexpr uint32_t kFirst = 0x8000'0002;
  constexpr uint32_t kLast = 0x8000'0004;
  for (auto& entry : entries) {
    if (entry.function < kFirst || entry.function > kLast) continue;
    __get_cpuid(entry.function, &entry.eax, &entry.ebx, &entry.ecx, &entry.edx);
  }
}

}  // namespace

Result<Kvm> Kvm::open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.is_open()) return last_failure("open");
  const int version = ioctl(fd.get(), KVM_GET_API_VERSION, 0);
  if (version < 0) return last_failure("KVM_GET_API_VERSION");
  if (version != KVM_API_VERSION) return Failure{ENOTSUP, "KVM_GET_API_VERSION"};
  return Kvm(std::move(fd));
}

int Kvm::check_extension(uint64_t capability) const {
  const int value = ioctl(fd_.get(), KVM_CHECK_EXTENSION, capability);
  return value < 0 ? 0 : value;
}

Result<std::vector<uint8_t>> Kvm::supported_cpuid() const {
  for (uint32_t room = 128;; room *= 2) {
    auto storage = storage_for<kvm_cpuid2>(sizeof(kvm_cpuid_entry2), room);
    auto* table = reinterpret_cast<kvm_cpuid2*>(storage.data());
    table->nent = room;
    if (ioctl(fd_.get(), KVM_GET_SUPPORTED_CPUID, table) == 0) {
      add_brand({table->entries, table->nent});
      const auto* first = reinterpret_cast<const uint8_t*>(table->entries);
      return std::vector<uint8_t>(first, first + table->nent * sizeof(kvm_cpuid_entry2));
    }
    if (errno != E2BIG) return last_failure("KVM_GET_SUPPORTED_CPUID");
  }
}

Result<std::vector<uint32_t>> Kvm::msr_indices() const {
  return index_list(fd_.get(), KVM_GET_MSR_INDEX_LIST, "KVM_GET_MSR_INDEX_LIST");
}

Result<std::vector<uint32_t>> Kvm::feature_msr_indices() const {
  return index_list(fd_.get(), KVM_GET_MSR_FEATURE_INDEX_LIST, "KVM_GET_MSR_FEATURE_INDEX_LIST");
}

Result<std::vector<uint64_t>> Kvm::feature_msrs(std::span<const uint32_t> indices) const {
  return get_msrs(fd_.get(), indices, "KVM_GET_MSRS");
}

Result<UniqueFd> Kvm::create_vm() const {
  for (;;) {
    UniqueFd fd(ioctl(fd_.get(), KVM_CREATE_VM, 0));
    if (fd.is_open()) return fd;
    // A signal can interrupt the allocation of the VM's structures.
    if (errno != EINTR) return last_failure("KVM_CREATE_VM");
  }
}

Result<size_t> Kvm::vcpu_mapping_size() const {
  const int size = ioctl(fd_.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (size < 0) return last_failure("KVM_GET_VCPU_MMAP_SIZE");
  return static_cast<size_t>(size);
}

Result<std::vector<uint64_t>> get_msrs(int fd, std::span<const uint32_t> indices, const char* operation) {
  auto storage = storage_for<kvm_msrs>(sizeof(kvm_msr_entry), indices.size());
  auto* msrs = reinterpret_cast<kvm_msrs*>(storage.data());
  msrs->nmsrs = static_cast<uint32_t>(indices.size());
  for (size_t number = 0; number < indices.size(); ++number) msrs->entries[number].index = indices[number];
  const int read = ioctl(fd, KVM_GET_MSRS, msrs);
  if (read < 0) return last_failure(operation);
  std::vector<uint64_t> values(static_cast<size_t>(read));
  for (size_t number = 0; number < values.size(); ++number) values[number] = msrs->entries[number].data;
  return values;
}

}  // namespace tsvmm
