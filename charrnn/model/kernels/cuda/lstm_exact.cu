// The time loop of one LSTM layer over a window, forward alone and about as exact as float32; it
// follows clusters.cuh.
//
// Each factor is the sum of two float16 numbers, its high half and its low half (22 bits), and each
// product the sum of three: high x high + high x low + low x high. All is summed in float32. A block
// keeps the high halves of its rows of W_hh (128 x H) in registers, and of the low halves those of
// the first KEPT products; the others lie in shared memory.

#ifndef KEPT
#define KEPT 0
#endif
#define HALF (S * ROW * 2)  // bytes of the halves of S streams' outputs

static __device__ __forceinline__ float sigmoid(float x) {
  return __fdividef(1.0f, 1.0f + expf(-x));
}

// The low halves of two numbers whose high halves are `high`.
static __device__ __forceinline__ u32 low_halves(float first, float second, u32 high) {
  const float2 v = unpack(high);
  return pack(first - v.x, second - v.y);
}

// z (T, B, H, 4): input products. w (2, H, 4, H): halves of the recurrent weights. bias (H, 4).
// scales (2): what the sums of recurrent products, and z, must be multiplied by. y (T, B, H): the
// outputs. h0 and c0 (B, H): the state before the window; cn (B, H): the cells after it.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
lstm_exact(const float* __restrict__ z, const u16* __restrict__ w, const float* __restrict__ bias,
           const float* __restrict__ scales, float* __restrict__ y, const float* __restrict__ h0,
           const float* __restrict__ c0, float* __restrict__ cn, int T, int B) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ __align__(16) unsigned long long barriers[2];
  u16* h = (u16*)memory;                          // 2 buffers x 2 halves x S x ROW
  float4* others = (float4*)(memory + 4 * HALF);  // 8 warps x FINISHED x 2 x 32
  uint4* lows = (uint4*)(others + 8 * FINISHED * 2 * 32);  // (KSTEPS - KEPT) x 2 x THREADS

  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int row = lane >> 2, quad = lane & 3;        // of a tile's fragment
  const int octet = warp & 3, part = warp >> 2;      // 8 units; which half of H is multiplied
  const int rank = blockIdx.x % BLOCKS, stream0 = first_stream(B);
  const int unit = rank * UNITS + octet * 8 + row;

  // tile 0: gates i (rows 0 to 7) and f; tile 1: g and o
  u32 a[2][KSTEPS][4], kept[2][KEPT + 1][4];
  const u16* mine = w + (size_t)unit * 4 * H + part * (H / 2) + 2 * quad;
#pragma unroll
  for (int tile = 0; tile < 2; tile++)
#pragma unroll
    for (int k = 0; k < KSTEPS; k++) {
      u32 low[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const u16* from = mine + (2 * tile + (i & 1)) * H + k * 16 + (i >> 1) * 8;
        a[tile][k][i] = *(const u32*)from;
        low[i] = *(const u32*)(from + (size_t)4 * H * H);
        if (k < KEPT) kept[tile][min(k, KEPT)][i] = low[i];
      }
      if (k >= KEPT)
        lows[((k - KEPT) * 2 + tile) * THREADS + threadIdx.x] =
            make_uint4(low[0], low[1], low[2], low[3]);
    }

  for (int i = threadIdx.x; i < S * (H / 2); i += THREADS) {
    const int stream = i / (H / 2), k = i % (H / 2) * 2;
    const float2 v = *(const float2*)(h0 + (size_t)(stream0 + stream) * H + k);
    const u32 high = pack(v.x, v.y);
    *(u32*)(h + stream * ROW + k) = high;
    *(u32*)(h + S * ROW + stream * ROW + k) = low_halves(v.x, v.y, high);
  }
  const size_t step = (size_t)B * H;
  const int tile0 = part * FINISHED, tiles = part ? NT - FINISHED : FINISHED;
  const float recurrent = scales[0], outer = scales[1];
  const float4 own = *(const float4*)(bias + unit * 4);
  int at[FINISHED];  // of this thread's first cell of each tile within a time step; H further: the second
  float c[FINISHED][2];
  float4 input[FINISHED][2];
#pragma unroll
  for (int j = 0; j < FINISHED; j++) {
    at[j] = (stream0 + min(tile0 + j, NT - 1) * 8 + 2 * quad) * H + unit;
#pragma unroll
    for (int e = 0; e < 2; e++) {
      c[j][e] = c0[at[j] + e * H];
      input[j][e] = *(const float4*)(z + (size_t)(at[j] + e * H) * 4);
    }
  }
  const u32 here = shared_address(h);
  const u32 from = here + ((lane & 7) * ROW + part * (H / 2) + (lane >> 3) * 8) * 2;
  const u32 barrier = shared_address(barriers);
  u32 into[BLOCKS / 4], tell[BLOCKS / 4];  // the four lanes of a row share the blocks among them
#pragma unroll
  for (int i = 0; i < BLOCKS / 4; i++) {
    const u32 place = here + ((tile0 * 8 + row) * ROW + rank * UNITS + octet * 8) * 2;
    into[i] = in_block(place, i * 4 + quad);
    tell[i] = in_block(barrier, i * 4 + quad);
  }
  start(barrier, H * S * 4);

  for (int s = 0; s < T; s++) {
    // outputs of step s go to buffer and barrier (s + 1) % 2, and are read in step s + 1
    const u32 now = s & 1, next = now ^ 1, read = now * (2 * HALF), write = next * (2 * HALF);
    if (s > 0) {
      await(barrier + 8 * now, (s - 1) >> 1 & 1);
      if (threadIdx.x == 0) expect(barrier + 8 * now, H * S * 4);
    }
    float sum[2][NT][4];
#pragma unroll
    for (int i = 0; i < 2 * NT * 4; i++) (&sum[0][0][0])[i] = 0.0f;
#pragma unroll
    for (int k = 0; k < KSTEPS; k += 2) {
      u32 low[2][2][4];  // of the weights
#pragma unroll
      for (int tile = 0; tile < 2; tile++)
#pragma unroll
        for (int d = 0; d < 2; d++) {
          uint4 v;
          if (k < KEPT)
            v = *(const uint4*)kept[tile][min(k + d, KEPT)];
          else
            v = lows[((k + d - KEPT) * 2 + tile) * THREADS + threadIdx.x];
          low[tile][d][0] = v.x; low[tile][d][1] = v.y; low[tile][d][2] = v.z; low[tile][d][3] = v.w;
        }
#pragma unroll
      for (int n = 0; n < NT; n++) {
        const uint4 b = load_matrices(from + read + (n * 8 * ROW + k * 16) * 2);
        const uint4 l = load_matrices(from + read + HALF + (n * 8 * ROW + k * 16) * 2);
#pragma unroll
        for (int tile = 0; tile < 2; tile++) {
          multiply(sum[tile][n], low[tile][0], b.x, b.y);
          multiply(sum[tile][n], a[tile][k], b.x, b.y);
        }
#pragma unroll
        for (int tile = 0; tile < 2; tile++) {
          multiply(sum[tile][n], low[tile][1], b.z, b.w);
          multiply(sum[tile][n], a[tile][k + 1], b.z, b.w);
        }
#pragma unroll
        for (int tile = 0; tile < 2; tile++)
          multiply(sum[tile][n], a[tile][k], l.x, l.y);
#pragma unroll
        for (int tile = 0; tile < 2; tile++)
          multiply(sum[tile][n], a[tile][k + 1], l.z, l.w);
      }
    }
    // the two warps with the same units add their halves: each finishes some of the streams
#pragma unroll
    for (int j = 0; j < FINISHED; j++)
#pragma unroll
      for (int tile = 0; tile < 2; tile++) {
        float v[4];  // of a tile that the other warp finishes
#pragma unroll
        for (int i = 0; i < 4; i++)
          v[i] = part ? sum[tile][j][i] : sum[tile][min(FINISHED + j, NT - 1)][i];
        others[((warp * FINISHED + j) * 2 + tile) * 32 + lane] = make_float4(v[0], v[1], v[2], v[3]);
      }
    asm volatile("bar.sync %0, 64;" :: "r"(1 + octet) : "memory");

#pragma unroll
    for (int j = 0; j < FINISHED; j++) {
      float pre[2][4], hidden[2];
#pragma unroll
      for (int tile = 0; tile < 2; tile++) {
        const float4 o = others[(((warp ^ 4) * FINISHED + j) * 2 + tile) * 32 + lane];
#pragma unroll
        for (int i = 0; i < 4; i++)
          pre[tile][i] = (&o.x)[i] +
              (part ? sum[tile][min(FINISHED + j, NT - 1)][i] : sum[tile][j][i]);
      }
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const float4 in = input[j][e];
        const float i = sigmoid(fmaf(pre[0][e], recurrent, fmaf(in.x, outer, own.x)));
        const float f = sigmoid(fmaf(pre[0][2 + e], recurrent, fmaf(in.y, outer, own.y)));
        const float g = tanhf(fmaf(pre[1][e], recurrent, fmaf(in.z, outer, own.z)));
        const float o = sigmoid(fmaf(pre[1][2 + e], recurrent, fmaf(in.w, outer, own.w)));
        c[j][e] = f * c[j][e] + i * g;
        hidden[e] = o * tanhf(c[j][e]);
      }
      const u32 high = pack(hidden[0], hidden[1]);
#pragma unroll
      for (int half = 0; half < 2; half++) {
        // 8 units of a stream are 16 bytes
        const u32 two = transposed(half ? low_halves(hidden[0], hidden[1], high) : high);
        uint4 eight;
        eight.x = __shfl_sync(~0u, two, (lane & ~3) + 0);
        eight.y = __shfl_sync(~0u, two, (lane & ~3) + 1);
        eight.z = __shfl_sync(~0u, two, (lane & ~3) + 2);
        eight.w = __shfl_sync(~0u, two, (lane & ~3) + 3);
        if (j < tiles)
#pragma unroll
          for (int i = 0; i < BLOCKS / 4; i++)
            send(into[i] + write + half * HALF + j * 8 * ROW * 2, eight, tell[i] + 8 * next);
      }
      if (j < tiles)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          y[s * step + at[j] + e * H] = hidden[e];
          if (s == T - 1) cn[at[j] + e * H] = c[j][e];
          if (s + 1 < T) input[j][e] = *(const float4*)(z + ((s + 1) * step + at[j] + e * H) * 4);
        }
    }
  }
  await(barrier + 8 * (T & 1), (T - 1) >> 1 & 1);
  meet();
}
