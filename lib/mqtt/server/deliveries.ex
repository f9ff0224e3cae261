defmodule MQTT.Server.Deliveries do
  @moduledoc false
  # What the handler says to messages before the client gets them, and what it calls messages until it is known what has
  # become of them. The native side knows these by numbers.

  alias MQTT.Server.Events
  alias MQTT.Server.Events.Handler

  @type names :: %{pos_integer => [term]}
  @type offered :: [{{binary, binary, map}, non_neg_integer}]

  @doc "Remembers what numbers stand for."
  @spec remember(names, [{pos_integer, term}]) :: names
  def remember(names, []), do: names
  def remember(names, [{number, name} | more]), do: names |> name(number, name) |> remember(more)

  # A message may have a name when the handler is asked about it, and then gets another.
  defp name(names, number, name), do: Map.update(names, number, [name], &[name | &1])

  @doc """
  What the handler says to messages, each with the number that it has already, or 0: a number, or `nil` for one that is
  not to be sent. With the decisions so far, if the connection is to end.
  """
  @spec decide(offered, Handler.t(), term, names) ::
          {:ok, [non_neg_integer | nil], term, names}
          | {:stop, term, [non_neg_integer | nil], term, names}
  def decide(offered, handler, state, names), do: decide(offered, handler, state, names, [])

  defp decide([], _handler, state, names, said), do: {:ok, Enum.reverse(said), state, names}

  defp decide([{{topic, message, opts}, number} | offered], handler, state, names, said) do
    case Events.call(handler.module, :handle_delivery, [topic, message, opts, state]) do
      {:send, state} ->
        decide(offered, handler, state, names, [0 | said])

      {:send, name, state} when number == 0 ->
        number = Events.number()
        decide(offered, handler, state, name(names, number, name), [number | said])

      {:send, name, state} ->
        decide(offered, handler, state, name(names, number, name), [0 | said])

      {:drop, state} ->
        decide(offered, handler, state, names, [nil | said])

      {:stop, reason} ->
        {:stop, reason, Enum.reverse(said), state, names}

      other ->
        {:stop, {:bad_return_value, other}, Enum.reverse(said), state, names}
    end
  end
end
