#pragma once

#include <napi.h>

namespace tsvmm {

// The engines and the host's disk and network helpers.
void define_virtio(Napi::Env env, Napi::Object exports);

}  // namespace tsvmm
