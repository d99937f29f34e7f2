#include "napi/tap_binding.h"

#include <arpa/inet.h>

#include <algorithm>

#include "napi/addon_data.h"
#include "napi/arguments.h"

namespace tsvmm {

namespace {

// MAX_TAP_QUEUES of the kernel.
constexpr uint64_t kMaximumQueuePairs = 256;

std::optional<uint32_t> read_ipv4(Napi::Value value, const char* name) {
  const auto text = read_string(value, name);
  if (!text) return {};
  in_addr address{};
  if (inet_pton(AF_INET, text->c_str(), &address) == 1) return address.s_addr;
  Napi::RangeError::New(value.Env(), std::string(name) + " is not an IPv4 address").ThrowAsJavaScriptException();
  return {};
}

void throw_unless(Napi::Env env, const Result<>& result) {
  if (!result) throw_failure(env, result.failure());
}

}  // namespace

void TapBinding::define(Napi::Env env, Napi::Object exports) {
  exports.Set("Tap",
              DefineClass(env, "Tap",
                          {InstanceAccessor<&TapBinding::name>("name"), InstanceAccessor<&TapBinding::fds>("fds"),
                           InstanceAccessor<&TapBinding::created>("created"),
                           InstanceMethod<&TapBinding::set_offloads>("setOffloads"),
                           InstanceMethod<&TapBinding::set_ipv4>("setIpv4"),
                           InstanceMethod<&TapBinding::set_mac>("setMac"), InstanceMethod<&TapBinding::mac>("mac"),
                           InstanceMethod<&TapBinding::set_mtu>("setMtu"), InstanceMethod<&TapBinding::mtu>("mtu"),
                           InstanceMethod<&TapBinding::set_up>("setUp"), InstanceMethod<&TapBinding::close>("close")}));
}

TapBinding::TapBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (!info[0].IsObject()) {
    Napi::TypeError::New(info.Env(), "options must be an object").ThrowAsJavaScriptException();
    return;
  }
  auto opened = open(info[0].As<Napi::Object>());
  if (!opened) return;
  if (*opened) {
    tap_ = std::move(*opened).value();
  } else {
    throw_failure(info.Env(), opened->failure());
  }
}

// Nothing where an argument was wrong; it has thrown then.
std::optional<Result<Tap>> TapBinding::open(Napi::Object options) {
  const auto pairs = read_uint(options.Get("queuePairs"), "queuePairs", kMaximumQueuePairs);
  if (!pairs) return {};
  if (*pairs == 0) {
    Napi::RangeError::New(options.Env(), "queuePairs is 0").ThrowAsJavaScriptException();
    return {};
  }
  if (const Napi::Value value = options.Get("fds"); !value.IsUndefined()) {
    if (!value.IsArray() || value.As<Napi::Array>().Length() != *pairs) {
      Napi::RangeError::New(options.Env(), "fds must have one descriptor a queue pair").ThrowAsJavaScriptException();
      return {};
    }
    std::vector<int> fds;
    for (uint32_t number = 0; number < *pairs; ++number) {
      const auto fd = read_uint(value.As<Napi::Array>().Get(number), "fds", INT32_MAX);
      if (!fd) return {};
      fds.push_back(static_cast<int>(*fd));
    }
    return Tap::adopt(fds);
  }
  std::string name;
  if (const Napi::Value value = options.Get("name"); !value.IsUndefined()) {
    auto text = read_string(value, "name");
    if (!text) return {};
    name = std::move(*text);
  }
  return Tap::open(name, static_cast<uint32_t>(*pairs));
}

bool TapBinding::is_open(Napi::Env env) const {
  if (!tap_) throw_closed(env, "Tap");
  return tap_.has_value();
}

Napi::Value TapBinding::name(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), tap_ ? tap_->name() : "");
}

Napi::Value TapBinding::fds(const Napi::CallbackInfo& info) {
  auto array = Napi::Array::New(info.Env());
  if (!tap_) return array;
  for (uint32_t number = 0; number < tap_->queues().size(); ++number) {
    array.Set(number, Napi::Number::New(info.Env(), tap_->queues()[number].get()));
  }
  return array;
}

Napi::Value TapBinding::created(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), tap_ && tap_->is_created());
}

void TapBinding::set_offloads(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  const auto flags = read_uint(info[0], "flags", UINT32_MAX);
  if (flags) throw_unless(info.Env(), tap_->set_offloads(static_cast<unsigned>(*flags)));
}

void TapBinding::set_ipv4(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  const auto address = read_ipv4(info[0], "address");
  if (!address) return;
  const auto mask = read_ipv4(info[1], "mask");
  if (mask) throw_unless(info.Env(), tap_->set_ipv4(*address, *mask));
}

void TapBinding::set_mac(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  const auto bytes = read_bytes(info[0], "mac");
  if (!bytes) return;
  std::array<uint8_t, 6> mac;
  if (bytes->size() != mac.size()) {
    return Napi::RangeError::New(info.Env(), "mac must have 6 bytes").ThrowAsJavaScriptException();
  }
  std::ranges::copy(*bytes, mac.begin());
  throw_unless(info.Env(), tap_->set_mac(mac));
}

Napi::Value TapBinding::mac(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  const auto mac = tap_->mac();
  if (mac) return copy_bytes(env, mac.value());
  throw_failure(env, mac.failure());
  return env.Undefined();
}

void TapBinding::set_mtu(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  const auto mtu = read_uint(info[0], "mtu", UINT16_MAX);
  if (mtu) throw_unless(info.Env(), tap_->set_mtu(static_cast<uint32_t>(*mtu)));
}

Napi::Value TapBinding::mtu(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  const auto mtu = tap_->mtu();
  if (mtu) return Napi::Number::New(env, mtu.value());
  throw_failure(env, mtu.failure());
  return env.Undefined();
}

void TapBinding::set_up(const Napi::CallbackInfo& info) {
  if (is_open(info.Env())) throw_unless(info.Env(), tap_->set_up());
}

void TapBinding::close(const Napi::CallbackInfo&) { tap_.reset(); }

}  // namespace tsvmm
