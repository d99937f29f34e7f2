#pragma once

#include <napi.h>

#include <optional>

#include "net/tap.h"

namespace tsvmm {

class TapBinding : public Napi::ObjectWrap<TapBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit TapBinding(const Napi::CallbackInfo& info);

 private:
  Napi::Value name(const Napi::CallbackInfo& info);
  Napi::Value fds(const Napi::CallbackInfo& info);
  Napi::Value created(const Napi::CallbackInfo& info);
  void set_offloads(const Napi::CallbackInfo& info);
  void set_ipv4(const Napi::CallbackInfo& info);
  void set_mac(const Napi::CallbackInfo& info);
  Napi::Value mac(const Napi::CallbackInfo& info);
  void set_mtu(const Napi::CallbackInfo& info);
  Napi::Value mtu(const Napi::CallbackInfo& info);
  void set_up(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  bool is_open(Napi::Env env) const;
  std::optional<Result<Tap>> open(Napi::Object options);

  std::optional<Tap> tap_;
};

}  // namespace tsvmm
