defmodule MQTT.Test.Bytes do
  @moduledoc false
  # What packets are made of, for tests that write them by hand.

  @doc "A packet: its first byte, the remaining length, and the rest."
  def packet(first, rest) do
    rest = IO.iodata_to_binary(rest)
    <<first, integer(byte_size(rest))::binary, rest::binary>>
  end

  @doc "A string or binary data with its length in front."
  def string(bytes), do: <<byte_size(bytes)::16, bytes::binary>>

  @doc "A variable byte integer."
  def integer(value) when value < 128, do: <<value>>
  def integer(value), do: <<1::1, rem(value, 128)::7, integer(div(value, 128))::binary>>
end
