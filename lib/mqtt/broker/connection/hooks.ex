defmodule MQTT.Broker.Connection.Hooks do
  @moduledoc false
  # What the broker's handler is told, and what it says.

  alias MQTT.Broker.Context

  @typedoc "A `MQTT.Broker.Connection`."
  @type s :: struct

  @doc "Tells an event."
  @spec event(tuple, s) :: term
  def event(event, s) do
    case Context.get!(s.broker).hooks do
      %{handle_event: handle, args: args} -> handle.(event, s.client, args)
      _ -> :ok
    end
  end

  @doc "What a callback of the handler says, if it has that."
  @spec ask(atom, [term], otherwise, s) :: otherwise | term when otherwise: term
  def ask(callback, arguments, otherwise, s) do
    case Context.get!(s.broker).hooks do
      %{^callback => function, args: args} -> apply(function, [s.client | arguments] ++ [args])
      _ -> otherwise
    end
  end

  @doc "Tells an event of a kind that not every handler wants to know of."
  @spec event_of_message(atom, tuple, s) :: term
  def event_of_message(kind, event, s), do: if(told?(kind, s), do: event(event, s), else: :ok)

  @doc "Whether the handler wants to know of that kind of event."
  @spec told?(atom, s) :: boolean
  def told?(kind, s), do: kind in Context.get!(s.broker).hooks.events
end
