#pragma once

#include <napi.h>

#include <memory>

#include "napi/vm_host.h"

namespace tsvmm {

class WindowBinding : public Napi::ObjectWrap<WindowBinding> {
 public:
  static void define(Napi::Env env);
  // mapWindow's arguments: space, address, bytes, spans, windowId.
  static Napi::Value make(const Napi::CallbackInfo& info, std::shared_ptr<VmHost> host);
  explicit WindowBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {}

 private:
  void move(const Napi::CallbackInfo& info);
  void set_spans(const Napi::CallbackInfo& info);
  Napi::Value clock_ticks(const Napi::CallbackInfo& info);
  void set_clock_ticks(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  bool is_open(Napi::Env env) const;
  AddressSpace& space() { return port_io_ ? host_->spaces().pio : host_->spaces().mmio; }

  std::shared_ptr<VmHost> host_;
  std::shared_ptr<Window> window_;
  bool port_io_ = false;
};

}  // namespace tsvmm
