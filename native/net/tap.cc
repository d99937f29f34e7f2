#include "net/tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace tsvmm {

namespace {

constexpr int kHeaderBytes = 12;
constexpr char kDefaultName[] = "vmtap%d";

ifreq request_for(const std::string& name) {
  ifreq request{};
  // SAFETY: the caller has checked that the name is shorter than IFNAMSIZ; the rest stays zero.
  std::memcpy(request.ifr_name, name.data(), name.size());
  return request;
}

Result<UniqueFd> open_queue(ifreq& request, short flags) {
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd.is_open()) return last_failure("open /dev/net/tun");
  request.ifr_flags = flags;
  if (ioctl(fd.get(), TUNSETIFF, &request) != 0) return last_failure("TUNSETIFF");
  return fd;
}

Result<> set_header_size(int fd) {
  if (ioctl(fd, TUNSETVNETHDRSZ, &kHeaderBytes) != 0) return last_failure("TUNSETVNETHDRSZ");
  return Unit{};
}

// Interfaces are configured through any socket of their network namespace.
Result<> configure(unsigned long operation, const char* operation_name, ifreq& request) {
  UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.is_open()) return last_failure("socket");
  if (ioctl(socket.get(), operation, &request) != 0) return last_failure(operation_name);
  return Unit{};
}

void set_address(sockaddr& target, uint32_t address) {
  sockaddr_in internet{};
  internet.sin_family = AF_INET;
  internet.sin_addr.s_addr = address;
  static_assert(sizeof(internet) == sizeof(target));
  std::memcpy(&target, &internet, sizeof(internet));
}

}  // namespace

Result<Tap> Tap::open(const std::string& name, uint32_t queue_pairs) {
  const auto& wanted = name.empty() ? std::string(kDefaultName) : name;
  if (wanted.size() >= IFNAMSIZ) return Failure{ENAMETOOLONG, "TUNSETIFF"};
  Tap tap;
  tap.created_ = if_nametoindex(wanted.c_str()) == 0;
  auto request = request_for(wanted);
  short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (queue_pairs > 1) flags |= IFF_MULTI_QUEUE;
  auto first = open_queue(request, flags);
  if (!first && first.failure().error == EINVAL && queue_pairs == 1) {
    // One queue of an interface that was made for several.
    flags |= IFF_MULTI_QUEUE;
    first = open_queue(request, flags);
  }
  if (!first) return first.failure();
  tap.name_ = request.ifr_name;
  tap.queues_.push_back(std::move(first).value());
  while (tap.queues_.size() < queue_pairs) {
    auto next = open_queue(request, flags);
    if (!next) return next.failure();
    tap.queues_.push_back(std::move(next).value());
  }
  for (const auto& queue : tap.queues_) {
    if (const auto set = set_header_size(queue.get()); !set) return set.failure();
  }
  return tap;
}

Result<Tap> Tap::adopt(std::span<const int> fds) {
  Tap tap;
  for (const int fd : fds) {
    UniqueFd own(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!own.is_open()) return last_failure("fcntl");
    ifreq request{};
    if (ioctl(own.get(), TUNGETIFF, &request) != 0) return last_failure("TUNGETIFF");
    if ((request.ifr_flags & IFF_VNET_HDR) == 0) return Failure{EINVAL, "a tap queue without IFF_VNET_HDR"};
    if (tap.queues_.empty()) tap.name_ = request.ifr_name;
    if (tap.name_ != request.ifr_name) return Failure{EINVAL, "tap queues of different interfaces"};
    const int flags = fcntl(own.get(), F_GETFL);
    if (flags < 0 || fcntl(own.get(), F_SETFL, flags | O_NONBLOCK) != 0) return last_failure("fcntl");
    if (const auto set = set_header_size(own.get()); !set) return set.failure();
    tap.queues_.push_back(std::move(own));
  }
  return tap;
}

Result<> Tap::set_offloads(unsigned flags) const {
  // SAFETY: TUNSETOFFLOAD takes its flags as the argument itself. They hold for all queues.
  if (ioctl(queues_.front().get(), TUNSETOFFLOAD, static_cast<unsigned long>(flags)) != 0) {
    return last_failure("TUNSETOFFLOAD");
  }
  return Unit{};
}

Result<> Tap::set_ipv4(uint32_t address, uint32_t mask) const {
  auto request = request_for(name_);
  set_address(request.ifr_addr, address);
  if (const auto set = configure(SIOCSIFADDR, "SIOCSIFADDR", request); !set) return set.failure();
  request = request_for(name_);
  set_address(request.ifr_netmask, mask);
  return configure(SIOCSIFNETMASK, "SIOCSIFNETMASK", request);
}

Result<> Tap::set_mac(const std::array<uint8_t, 6>& mac) const {
  auto request = request_for(name_);
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request.ifr_hwaddr.sa_data, mac.data(), mac.size());
  return configure(SIOCSIFHWADDR, "SIOCSIFHWADDR", request);
}

Result<std::array<uint8_t, 6>> Tap::mac() const {
  auto request = request_for(name_);
  if (const auto got = configure(SIOCGIFHWADDR, "SIOCGIFHWADDR", request); !got) return got.failure();
  std::array<uint8_t, 6> mac;
  std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
  return mac;
}

Result<> Tap::set_mtu(uint32_t mtu) const {
  auto request = request_for(name_);
  request.ifr_mtu = static_cast<int>(mtu);
  return configure(SIOCSIFMTU, "SIOCSIFMTU", request);
}

Result<uint32_t> Tap::mtu() const {
  auto request = request_for(name_);
  if (const auto got = configure(SIOCGIFMTU, "SIOCGIFMTU", request); !got) return got.failure();
  return static_cast<uint32_t>(request.ifr_mtu);
}

Result<> Tap::set_up() const {
  auto request = request_for(name_);
  if (const auto got = configure(SIOCGIFFLAGS, "SIOCGIFFLAGS", request); !got) return got.failure();
  request.ifr_flags |= IFF_UP;
  return configure(SIOCSIFFLAGS, "SIOCSIFFLAGS", request);
}

}  // namespace tsvmm
