// The register files of a vCPU that are read and written as raw kernel structures. Each architecture has its own table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "sys/result.h"

namespace tsvmm {

struct RegisterFile {
  std::string_view name;
  unsigned long get;
  unsigned long set;
  size_t size;
  const char* get_operation;
  const char* set_operation;
};

// nullptr for a name that this architecture does not have.
const RegisterFile* find_register_file(std::string_view name);

// `xsave_size` is what KVM_CAP_XSAVE2 reports for the VM: that file grows with the CPU.
Result<std::vector<uint8_t>> get_registers(int vcpu_fd, const RegisterFile& file, size_t xsave_size);
// EINVAL where the size is not the file's.
Result<> set_registers(int vcpu_fd, const RegisterFile& file, std::span<const uint8_t> bytes, size_t xsave_size);

}  // namespace tsvmm
