// The system side of KVM: /dev/kvm.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace tsvmm {

class Kvm {
 public:
  // ENOTSUP where the API is not version 12, the only one there is (Documentation/virt/kvm/api.rst §4.1).
  static Result<Kvm> open(const std::string& path);

  int fd() const { return fd_.get(); }
  int check_extension(uint64_t capability) const;
  // struct kvm_cpuid_entry2 as the kernel lays it out, with the brand of the host's CPU.
  Result<std::vector<uint8_t>> supported_cpuid() const;
  Result<std::vector<uint32_t>> msr_indices() const;
  Result<std::vector<uint32_t>> feature_msr_indices() const;
  Result<std::vector<uint64_t>> feature_msrs(std::span<const uint32_t> indices) const;
  Result<UniqueFd> create_vm() const;
  // Size of the page that each vCPU shares with the kernel.
  Result<size_t> vcpu_mapping_size() const;

 private:
  explicit Kvm(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// KVM_GET_MSRS on the system or a vCPU: as many values as KVM reads before the first index that it refuses.
Result<std::vector<uint64_t>> get_msrs(int fd, std::span<const uint32_t> indices, const char* operation);

}  // namespace tsvmm
