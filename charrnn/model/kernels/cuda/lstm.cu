// The time loop of one LSTM layer over a window, forward and backward; it follows clusters.cuh.
//
// Each block keeps its rows of W_hh (128 x H) in registers for the whole window. Time is the first
// dimension. Products are of float16 (or bfloat16, -DBF16) and summed in float32; cell states and
// their gradients are float32.

#define OWN (4 * UNITS)       // gates of a block
#define OWN_ROW (OWN + 8)
#define CHAINS (NT < 4 ? 2 : 1)  // forward: sums that do not wait for each other
#define MT (H / 128)             // backward: tiles of 16 units of a warp
#define PAIRS ((S + 15) / 16)    // backward: pairs of streams of a thread
#define VECTORS (MT * NT * 2)    // backward: of 8 streams of a unit, of four lanes
#define GROUPS ((VECTORS + 3) / 4)
#define PARTS (BLOCKS * NT * UNITS)  // backward: vectors that a block receives in a step

static __device__ __forceinline__ float sigmoid(float x) {
  return __fdividef(1.0f, 1.0f + __expf(-x));
}

static __device__ __forceinline__ float hyperbolic(float x) {
  return 1.0f - __fdividef(2.0f, 1.0f + __expf(2.0f * fminf(x, 40.0f)));
}

// Lane q of four has word q of four vectors, and gets all words of vector q.
static __device__ __forceinline__ uint4 gathered(const u32* words, int q) {
  const bool odd = q & 1, high = q & 2;
  const u32 a = __shfl_xor_sync(~0u, odd ? words[0] : words[1], 1);
  const u32 b = __shfl_xor_sync(~0u, odd ? words[2] : words[3], 1);
  const u32 w0 = odd ? a : words[0], w1 = odd ? words[1] : a;
  const u32 w2 = odd ? b : words[2], w3 = odd ? words[3] : b;
  const u32 c = __shfl_xor_sync(~0u, high ? w0 : w2, 2);
  const u32 d = __shfl_xor_sync(~0u, high ? w1 : w3, 2);
  return high ? make_uint4(c, d, w2, w3) : make_uint4(w0, w1, c, d);
}

// z (T, B, H, 4): input products with biases. w (H, 4, H). y (T + 1, B, H) and cells (T + 1, B, H):
// their first rows are the state before the window. gates (T, B, H, 4): what the backward pass
// reads, or null.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
lstm_forward(const u16* __restrict__ z, const u16* __restrict__ w, u16* __restrict__ y,
             float* __restrict__ cells, u16* __restrict__ gates, int T, int B) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ __align__(16) unsigned long long barriers[2];
  u16* h = (u16*)memory;                                 // 2 x S x ROW
  float4* others = (float4*)(memory + 2 * S * ROW * 2);  // 8 warps x FINISHED x 2 x 32

  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int row = lane >> 2, quad = lane & 3;        // of a tile's fragment
  const int octet = warp & 3, part = warp >> 2;      // 8 units; which half of H is multiplied
  const int rank = blockIdx.x % BLOCKS, stream0 = first_stream(B);
  const int unit = rank * UNITS + octet * 8 + row;

  // tile 0: gates i (rows 0 to 7) and f; tile 1: g and o
  u32 a[2][KSTEPS][4];
  const u16* mine = w + (size_t)unit * 4 * H + part * (H / 2) + 2 * quad;
#pragma unroll
  for (int tile = 0; tile < 2; tile++)
#pragma unroll
    for (int k = 0; k < KSTEPS; k++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        a[tile][k][i] = *(const u32*)(mine + (2 * tile + (i & 1)) * H + k * 16 + (i >> 1) * 8);

  for (int i = threadIdx.x; i < S * (H / 8); i += THREADS) {
    const int stream = i / (H / 8), k = i % (H / 8) * 8;
    *(uint4*)(h + stream * ROW + k) = *(const uint4*)(y + (size_t)(stream0 + stream) * H + k);
  }
  const size_t step = (size_t)B * H;
  const int tile0 = part * FINISHED, tiles = part ? NT - FINISHED : FINISHED;
  size_t at[FINISHED][2];  // of this thread's cells within a time step
  float c[FINISHED][2];
  uint2 input[FINISHED][2];
#pragma unroll
  for (int j = 0; j < FINISHED; j++)
#pragma unroll
    for (int e = 0; e < 2; e++) {
      at[j][e] = (size_t)(stream0 + min(tile0 + j, NT - 1) * 8 + 2 * quad + e) * H + unit;
      c[j][e] = cells[at[j][e]];
      input[j][e] = *(const uint2*)(z + at[j][e] * 4);
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
  start(barrier, H * S * 2);

  for (int s = 0; s < T; s++) {
    // outputs of step s go to buffer and barrier (s + 1) % 2, and are read in step s + 1
    const u32 now = s & 1, next = now ^ 1, read = now * (S * ROW * 2), write = next * (S * ROW * 2);
    if (s > 0) {
      await(barrier + 8 * now, (s - 1) >> 1 & 1);
      if (threadIdx.x == 0) expect(barrier + 8 * now, H * S * 2);
    }
    float sum[CHAINS][2][NT][4];
#pragma unroll
    for (int i = 0; i < CHAINS * 2 * NT * 4; i++) (&sum[0][0][0][0])[i] = 0.0f;
#pragma unroll
    for (int k = 0; k < KSTEPS; k += 2)
#pragma unroll
      for (int n = 0; n < NT; n++) {
        const uint4 b = load_matrices(from + read + (n * 8 * ROW + k * 16) * 2);
#pragma unroll
        for (int tile = 0; tile < 2; tile++) multiply(sum[0][tile][n], a[tile][k], b.x, b.y);
#pragma unroll
        for (int tile = 0; tile < 2; tile++)
          multiply(sum[CHAINS - 1][tile][n], a[tile][k + 1], b.z, b.w);
      }
    if (CHAINS == 2)
#pragma unroll
      for (int i = 0; i < 2 * NT * 4; i++) (&sum[0][0][0][0])[i] += (&sum[CHAINS - 1][0][0][0])[i];
    // the two warps with the same units add their halves: each finishes some of the streams
#pragma unroll
    for (int j = 0; j < FINISHED; j++)
#pragma unroll
      for (int tile = 0; tile < 2; tile++) {
        float v[4];  // of a tile that the other warp finishes
#pragma unroll
        for (int i = 0; i < 4; i++)
          v[i] = part ? sum[0][tile][j][i] : sum[0][tile][min(FINISHED + j, NT - 1)][i];
        others[((warp * FINISHED + j) * 2 + tile) * 32 + lane] = make_float4(v[0], v[1], v[2], v[3]);
      }
    asm volatile("bar.sync %0, 64;" :: "r"(1 + octet) : "memory");

    uint2 saved[FINISHED][2];
    uint4 eight[FINISHED];
#pragma unroll
    for (int j = 0; j < FINISHED; j++) {
      float pre[2][4], hidden[2];
#pragma unroll
      for (int tile = 0; tile < 2; tile++) {
        const float4 o = others[(((warp ^ 4) * FINISHED + j) * 2 + tile) * 32 + lane];
#pragma unroll
        for (int i = 0; i < 4; i++)
          pre[tile][i] = (&o.x)[i] +
              (part ? sum[0][tile][min(FINISHED + j, NT - 1)][i] : sum[0][tile][j][i]);
      }
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const float2 zi = unpack(input[j][e].x), zg = unpack(input[j][e].y);
        const float i = sigmoid(pre[0][e] + zi.x), f = sigmoid(pre[0][2 + e] + zi.y);
        const float g = hyperbolic(pre[1][e] + zg.x), o = sigmoid(pre[1][2 + e] + zg.y);
        c[j][e] = f * c[j][e] + i * g;
        hidden[e] = o * hyperbolic(c[j][e]);
        saved[j][e] = make_uint2(pack(i, f), pack(g, o));
      }
      // 8 units of a stream are 16 bytes
      const u32 two = transposed(pack(hidden[0], hidden[1]));
      eight[j].x = __shfl_sync(~0u, two, (lane & ~3) + 0);
      eight[j].y = __shfl_sync(~0u, two, (lane & ~3) + 1);
      eight[j].z = __shfl_sync(~0u, two, (lane & ~3) + 2);
      eight[j].w = __shfl_sync(~0u, two, (lane & ~3) + 3);
      if (j < tiles)
#pragma unroll
        for (int i = 0; i < BLOCKS / 4; i++) 
          send(into[i] + write + j * 8 * ROW * 2, eight[j], tell[i] + 8 * next);
    }
#pragma unroll
    for (int j = 0; j < FINISHED; j++) {
      if (j >= tiles) break;
      if (quad == 0)
        *(uint4*)(y + (s + 1) * step + (size_t)(stream0 + (tile0 + j) * 8 + row) * H +
                  rank * UNITS + octet * 8) = eight[j];
#pragma unroll
      for (int e = 0; e < 2; e++) {
        if (gates) *(uint2*)(gates + (s * step + at[j][e]) * 4) = saved[j][e];
        if (gates || s == T - 1) cells[(s + 1) * step + at[j][e]] = c[j][e];
        if (s + 1 < T) input[j][e] = *(const uint2*)(z + ((s + 1) * step + at[j][e]) * 4);
      }
    }
  }
  await(barrier + 8 * (T & 1), (T - 1) >> 1 & 1);
  meet();
}

// Adds what all blocks have sent for a unit and a pair of streams.
static __device__ __forceinline__ void add_parts(float2& sum, const u32* parts, int pair) {
#pragma unroll
  for (int block = 0; block < BLOCKS; block++) {
    const float2 v = unpack(parts[block * NT * UNITS * 4 + pair]);
    sum.x += v.x;
    sum.y += v.y;
  }
}

// wt (H, H, 4): the transposed w. dy (T, B, H): gradients of the outputs. dz (T, B, H, 4): those of
// z. dh and dc (B, H): gradients of the state after the window; dh0 and dc0: of that before it.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
lstm_backward(const u16* __restrict__ wt, const u16* __restrict__ gates,
              const float* __restrict__ cells, const u16* __restrict__ dy, u16* __restrict__ dz,
              const float* __restrict__ dh, const float* __restrict__ dc, float* __restrict__ dh0,
              float* __restrict__ dc0, int T, int B) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ __align__(16) unsigned long long barriers[2];
  u32* parts = (u32*)memory;                   // 2 x BLOCKS x NT x UNITS vectors of 8 streams
  u16* own = (u16*)(memory + 2 * PARTS * 16);  // 2 x S x OWN_ROW

  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int row = lane >> 2, quad = lane & 3;
  const int rank = blockIdx.x % BLOCKS, stream0 = first_stream(B);

  // this warp multiplies the gates of the block's units by the rows of 16 MT units
  u32 a[MT][OWN / 16][4];
  const u16* mine = wt + (size_t)(warp * MT * 16 + row) * 4 * H + rank * OWN + 2 * quad;
#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int k = 0; k < OWN / 16; k++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        a[m][k][i] = *(const u32*)(mine + (size_t)(m * 16 + (i & 1) * 8) * 4 * H + k * 16 + (i >> 1) * 8);

  const size_t step = (size_t)B * H;
  size_t at[PAIRS][2];
  const int pair0 = threadIdx.x;
  float dcell[PAIRS][2], cell[PAIRS][2], before[PAIRS][2], given[PAIRS][2];
  uint2 gate[PAIRS][2];
#pragma unroll
  for (int i = 0; i < PAIRS; i++)
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const int pair = pair0 + i * THREADS;  // four pairs of streams of a tile; units; tiles
      const int unit = pair / 4 % UNITS, stream = min(pair / 128, NT - 1) * 8 + pair % 4 * 2 + e;
      at[i][e] = (size_t)(stream0 + stream) * H + rank * UNITS + unit;
      dcell[i][e] = dc[at[i][e]];
      const size_t last = (T - 1) * step + at[i][e];
      gate[i][e] = *(const uint2*)(gates + last * 4);
      cell[i][e] = cells[last + step];
      before[i][e] = cells[last];
      given[i][e] = unpack(dy[last]).x + dh[at[i][e]];
    }
  const u32 from = shared_address(own) + ((lane & 7) * OWN_ROW + (lane >> 3) * 8) * 2;
  const u32 barrier = shared_address(barriers);
  u32 into[GROUPS], tell[GROUPS];  // where this lane's vector of each group goes
#pragma unroll
  for (int i = 0; i < GROUPS; i++) {
    const int vector = min(i * 4 + quad, VECTORS - 1), tile = warp * MT + vector / (2 * NT);
    const int n = vector / 2 % NT, unit = tile % 2 * 16 + vector % 2 * 8 + row;
    into[i] = in_block(shared_address(parts) + ((rank * NT + n) * UNITS + unit) * 16, tile / 2);
    tell[i] = in_block(barrier, tile / 2);
  }
  start(barrier, PARTS * 16);

  for (int s = T - 1; s >= 0; s--) {
    // what step s sends goes to buffer and barrier k % 2, and is read in the next step
    const int k = T - 1 - s, now = k & 1, read = (now ^ 1) * PARTS, write = now * PARTS;
    if (k > 0) {
      await(barrier + 8 * (now ^ 1), (k - 1) >> 1 & 1);
      if (threadIdx.x == 0) expect(barrier + 8 * (now ^ 1), PARTS * 16);
    }
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
      const int pair = pair0 + i * THREADS;
      if (S % 16 && pair >= UNITS * S / 2) break;
      const int unit = pair / 4 % UNITS, stream = pair / 128 * 8 + pair % 4 * 2;
      float2 sum = make_float2(given[i][0], given[i][1]);
      if (k > 0) add_parts(sum, parts + read * 4, pair);
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const float dhidden = e ? sum.y : sum.x;
        const float2 in = unpack(gate[i][e].x), out = unpack(gate[i][e].y);
        const float tanh_c = hyperbolic(cell[i][e]);
        const float d = dcell[i][e] + dhidden * out.y * (1.0f - tanh_c * tanh_c);
        const float di = d * out.x * in.x * (1.0f - in.x), df = d * before[i][e] * in.y * (1.0f - in.y);
        const float dg = d * in.x * (1.0f - out.x * out.x);
        const float dout = dhidden * tanh_c * out.y * (1.0f - out.y);
        dcell[i][e] = d * in.y;
        const uint2 four = make_uint2(pack(di, df), pack(dg, dout));
        *(uint2*)(own + (now * S + stream + e) * OWN_ROW + unit * 4) = four;
        gate[i][e] = four;
      }
    }
    __syncthreads();
    float sum[MT][NT][4];
#pragma unroll
    for (int i = 0; i < MT * NT * 4; i++) (&sum[0][0][0])[i] = 0.0f;
#pragma unroll
    for (int j = 0; j < OWN / 16; j += 2)
#pragma unroll
      for (int n = 0; n < NT; n++) {
        const uint4 b = load_matrices(from + ((now * S + n * 8) * OWN_ROW + j * 16) * 2);
#pragma unroll
        for (int m = 0; m < MT; m++) multiply(sum[m][n], a[m][j], b.x, b.y);
#pragma unroll
        for (int m = 0; m < MT; m++) multiply(sum[m][n], a[m][j + 1], b.z, b.w);
      }
    // the sums go to the blocks that own these units
#pragma unroll
    for (int i = 0; i < GROUPS; i++) {
      u32 words[4];
#pragma unroll
      for (int q = 0; q < 4; q++) {
        const int vector = i * 4 + q < VECTORS ? i * 4 + q : VECTORS - 1;
        const float* v = sum[vector / (2 * NT)][vector / 2 % NT] + vector % 2 * 2;
        words[q] = pack(v[0], v[1]);
      }
      const uint4 mine = gathered(words, quad);
      if (i * 4 + quad < VECTORS) send(into[i] + write * 16, mine, tell[i] + 8 * now);
    }
#pragma unroll
    for (int i = 0; i < PAIRS; i++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        if (S % 16 && pair0 + i * THREADS >= UNITS * S / 2) break;
        *(uint2*)(dz + (s * step + at[i][e]) * 4) = gate[i][e];
        if (s == 0) continue;
        const size_t next = (s - 1) * step + at[i][e];
        gate[i][e] = *(const uint2*)(gates + next * 4);
        cell[i][e] = before[i][e];
        before[i][e] = cells[next];
        given[i][e] = unpack(dy[next]).x;
      }
  }
  const int last = (T - 1) & 1;
  await(barrier + 8 * last, (T - 1) >> 1 & 1);
#pragma unroll
  for (int i = 0; i < PAIRS; i++) {
    const int pair = pair0 + i * THREADS;
    if (S % 16 && pair >= UNITS * S / 2) break;
    float2 sum = make_float2(0.0f, 0.0f);
    add_parts(sum, parts + last * PARTS * 4, pair);
    dh0[at[i][0]] = sum.x;
    dh0[at[i][1]] = sum.y;
    dc0[at[i][0]] = dcell[i][0];
    dc0[at[i][1]] = dcell[i][1];
  }
  meet();
}
