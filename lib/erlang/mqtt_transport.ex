defmodule :mqtt_transport do
  @moduledoc "`MQTT.Transport` by its name in Erlang."

  @type transport :: MQTT.Transport.t()

  @doc "See `MQTT.Transport.new/2`."
  @spec new(:tcp | :ssl, :gen_tcp.socket() | :ssl.sslsocket()) :: transport
  defdelegate new(type, socket), to: MQTT.Transport
end
