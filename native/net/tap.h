// A tap interface of the host: opened or created, its queues, and the settings that the host's side of it needs.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace tsvmm {

// One thread at a time. All queues are non-blocking and carry virtio's header of 12 bytes.
class Tap {
 public:
  // Opens the interface of that name or creates it; an empty name or one with %d lets the kernel number it. A created
  // interface goes with its last descriptor; one that was there stays. EBUSY: another program has it. EINVAL: it is no
  // tap, or has fewer queues.
  static Result<Tap> open(const std::string& name, uint32_t queue_pairs);
  // Duplicates queues that somebody else has opened. EINVAL where one is no tap queue with IFF_VNET_HDR.
  static Result<Tap> adopt(std::span<const int> fds);

  const std::string& name() const { return name_; }
  const std::vector<UniqueFd>& queues() const { return queues_; }
  bool is_created() const { return created_; }

  Result<> set_offloads(unsigned flags) const;
  // Network byte order.
  Result<> set_ipv4(uint32_t address, uint32_t mask) const;
  Result<> set_mac(const std::array<uint8_t, 6>& mac) const;
  Result<std::array<uint8_t, 6>> mac() const;
  Result<> set_mtu(uint32_t mtu) const;
  Result<uint32_t> mtu() const;
  Result<> set_up() const;

 private:
  Tap() = default;

  std::string name_;
  std::vector<UniqueFd> queues_;
  bool created_ = false;
};

}  // namespace tsvmm
